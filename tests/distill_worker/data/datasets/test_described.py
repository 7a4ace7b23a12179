"""What every data set is checked for, and its statistics by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from distill_worker.data.datasets.dataset import Split
from distill_worker.data.datasets.described import described
from distill_worker.errors import DataError
from shared.normalise import normalise
from tests.distill_worker.data.datasets.files import pixels


def _split(samples: int = 4, channels: int = 1, side: int = 4, labels: list[int] | None = None) -> Split:
    given = [position % 2 for position in range(samples)] if labels is None else labels
    return Split(
        torch.from_numpy(pixels(samples, samples, channels, side, side)), torch.tensor(given, dtype=torch.int64)
    )


def test_mean_and_deviation_by_hand() -> None:
    """Channel 0: half black, half white. Channel 1: 51 = 0.2 * 255 three times, then 255: mean 0.4, variance 0.12."""
    images = torch.tensor([[[[0, 255], [0, 255]], [[51, 51], [51, 255]]]], dtype=torch.uint8)
    split = Split(images, torch.tensor([0]))
    dataset = described("x", split, split, ("a", "b"), crop_padding=0, horizontal_flip=False)
    assert dataset.mean == (0.5, 0.4)
    assert dataset.std == (0.5, round(0.12**0.5, 4))
    assert dataset.image_shape == (2, 2, 2)
    assert dataset.validation is None


def test_statistics_are_those_of_the_training_pixels_alone() -> None:
    train = _split(50, channels=3)
    dataset = described("x", train, _split(7, channels=3), ("a", "b"), crop_padding=0, horizontal_flip=False)
    values = train.images.numpy() / 255
    assert dataset.mean == pytest.approx(values.mean((0, 2, 3)), abs=5e-5)
    assert dataset.std == pytest.approx(values.std((0, 2, 3)), abs=5e-5)


@pytest.mark.parametrize("value", [0, 77, 255])
def test_channel_without_contrast_can_be_normalised(value: int) -> None:
    images = torch.full((3, 1, 2, 2), value, dtype=torch.uint8)
    split = Split(images, torch.tensor([0, 1, 0]))
    dataset = described("x", split, split, ("a", "b"), crop_padding=0, horizontal_flip=False)
    assert dataset.std == (1.0,)
    assert normalise(images, dataset.mean, dataset.std).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("train", "test", "classes", "message"),
    [
        (_split(0), _split(), 2, "here: training: expected samples, got none"),
        (_split(), _split(0), 2, "here: test: expected samples, got none"),
        (_split(4, labels=[0, 1, 0]), _split(), 2, "here: training: .* got 4 images but 3 labels"),
        (_split(), _split(2, labels=[0, 1, 1]), 2, "here: test: .* got 2 images but 3 labels"),
        (_split(), _split(channels=3), 2, r"here: test: .*shape \[1, 4, 4\].*, got \[3, 4, 4\]"),
        (_split(), _split(side=5), 2, r"here: test: .*shape \[1, 4, 4\].*, got \[1, 5, 5\]"),
        (_split(2, labels=[0, 2]), _split(), 2, "here: training: expected labels from 0 to 1, got 0 to 2"),
        (_split(), _split(2, labels=[-1, 1]), 2, "here: test: expected labels from 0 to 1, got -1 to 1"),
        (_split(2, labels=[0, 0]), _split(2, labels=[0, 0]), 1, "here: expected at least 2 classes, got 1"),
        (_split(4), _split(), 3, "here: expected training samples of every class, got none of c2;"),
        (_split(4), _split(2, labels=[3, 2]), 4, "here: expected training samples .* got none of c2, c3;"),
    ],
)
def test_what_does_not_go_together_is_refused(train: Split, test: Split, classes: int, message: str) -> None:
    names = [f"c{label}" for label in range(classes)]
    with pytest.raises(DataError, match=f"^{message}"):
        described("x", train, test, names, crop_padding=0, horizontal_flip=False, every_class=True, where="here")


def test_validation_samples_are_checked_too() -> None:
    with pytest.raises(DataError, match=r"^x: validation: expected labels"):
        described(
            "x", _split(), _split(), "ab", crop_padding=0, horizontal_flip=False, validation=_split(1, labels=[2])
        )


def test_class_without_training_samples_is_accepted_unless_it_must_not_be() -> None:
    assert described("x", _split(4), _split(), "abc", crop_padding=0, horizontal_flip=False).class_names == (*"abc",)


def _labelled(labels: Tensor) -> Split:
    return Split(torch.from_numpy(np.zeros((len(labels), 1, 2, 2), dtype=np.uint8)), labels)


def test_classes_without_names_are_numbered_up_to_the_highest_label_of_any_split() -> None:
    splits = (_labelled(torch.tensor([0, 1, 0, 1])), _labelled(torch.tensor([2])))
    dataset = described("x", *splits, None, crop_padding=0, horizontal_flip=False)
    assert dataset.class_names == ("0", "1", "2")
    assert not dataset.classes_are_named
    assert described("x", *splits, "abc", crop_padding=0, horizontal_flip=False).classes_are_named


def test_label_beyond_the_number_of_samples_is_refused_at_once() -> None:
    """An identifier in place of a class would ask for as many names."""
    split = _labelled(torch.tensor([0, 4_000_000_000]))
    with pytest.raises(DataError, match=r"^here: expected classes numbered .*, got label 4000000000 and 4 samples"):
        described("x", split, split, None, crop_padding=0, horizontal_flip=False, where="here")
