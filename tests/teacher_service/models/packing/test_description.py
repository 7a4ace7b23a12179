"""What a person states of a model agrees with what the model shows, or the error names both."""

from typing import Any

import pytest

from teacher_service.models.packing.description import Description, first_that_runs
from teacher_service.models.packing.preprocessing import Preprocessing

_HALF = Preprocessing((0.5,), (0.25,), image_size=(8, 8))


def _described(**stated: object) -> Description:
    return Description(**{"origin": "the file my.pth", "preprocessing": _HALF, **stated})  # type: ignore[arg-type]


def test_card_has_what_is_shown_and_what_is_stated() -> None:
    card = _described(class_names=("a", "b")).card("net", classes=2, channels=3, provenance={"packed_from": "my.pth"})
    assert (card.network, card.num_classes, card.in_channels, card.image_size) == ("net", 2, 3, (8, 8))
    assert (card.mean, card.std, card.resize) == ((0.5,) * 3, (0.25,) * 3, None)
    assert (card.class_names, card.provenance) == (("a", "b"), {"packed_from": "my.pth"})


def test_classes_without_names_are_numbers() -> None:
    assert _described(num_classes=3).card("net", classes=None, channels=1).class_names == ("0", "1", "2")


def test_stated_size_is_before_the_models_and_that_before_the_presets() -> None:
    usual = Preprocessing((0.0,), (1.0,), usual_size=(224, 224))
    cards = [
        _described(preprocessing=usual.changed(image_size=stated)).card("net", classes=2, channels=1, size=shown)
        for stated, shown in (((8, 9), (6, 7)), (None, (6, 7)), (None, None))
    ]
    assert [card.image_size for card in cards] == [(8, 9), (6, 7), (224, 224)]


def test_images_are_resized_only_to_another_size() -> None:
    cards = [
        _described(preprocessing=_HALF.changed(resize=resize)).card("net", classes=2, channels=1)
        for resize in ((8, 8), (16, 12))
    ]
    assert [card.resize for card in cards] == [None, (16, 12)]
    assert _described(preprocessing=_HALF.changed(resize=(16, 12))).image_shapes(3, None) == [(3, 16, 12)]


@pytest.mark.parametrize(
    ("stated", "shown", "message"),
    [
        ({"class_names": ("a", "b")}, {"classes": 3}, "num_classes: .*got 3 from the file my.pth, 2 from class_names"),
        ({"num_classes": 4}, {"classes": 3}, "num_classes: .*got 3 from the file my.pth, 4 from num_classes"),
        ({"in_channels": 1}, {"channels": 3}, "in_channels: .*got 3 from the file my.pth, 1 from in_channels"),
        (
            {"preprocessing": Preprocessing((0.5, 0.5), (0.5,), (8, 8))},
            {"channels": 3},
            "in_channels: .*got 3 from the file my.pth, 2 from mean",
        ),
        ({}, {"classes": None}, "num_classes: expected a number, as the file my.pth does not show it"),
        ({"preprocessing": Preprocessing((0.5,), (0.5,))}, {}, "image_size: expected height and width of the images"),
        ({}, {"classes": 1}, "the file my.pth: num_classes: expected at least 2, got 1"),
        ({"preprocessing": _HALF.changed(std=(0.0,))}, {}, "the file my.pth: mean and std: expected finite values"),
    ],
)
def test_difference_is_an_error_that_names_both(stated: dict[str, object], shown: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _described(**stated).card("net", **{"classes": 3, "channels": 3, **shown})


def test_channels_that_nothing_states_are_tried_in_colour_then_in_grey() -> None:
    assert _described().image_shapes(None, None) == [(3, 8, 8), (1, 8, 8)]
    assert _described(in_channels=4).image_shapes(None, None) == [(4, 8, 8)]


def test_first_shape_that_runs_counts_or_the_first_error() -> None:
    def classes_for(shape: tuple[int, int, int]) -> int:
        if shape[0] != 1:
            raise ValueError(f"{shape[0]} channels")
        return 7

    assert first_that_runs([(3, 8, 8), (1, 8, 8)], classes_for) == ((1, 8, 8), 7)
    with pytest.raises(ValueError, match="3 channels"):
        first_that_runs([(3, 8, 8), (4, 8, 8)], classes_for)
