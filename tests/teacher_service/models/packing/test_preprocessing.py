"""Preprocessing is a preset, values, or a preset with some other values."""

import pytest

from teacher_service.models.packing.preprocessing import Preprocessing, numbers, preprocessing_of, size


def test_imagenet_is_what_torchvisions_weights_say() -> None:
    from torchvision.models import ResNet50_Weights

    transforms = ResNet50_Weights.IMAGENET1K_V1.transforms()
    preset = preprocessing_of("imagenet")
    mean, std = preset.for_channels(3)
    assert (list(mean), list(std)) == (transforms.mean, transforms.std)
    assert preset.usual_size == (transforms.crop_size[0], transforms.crop_size[0])


@pytest.mark.parametrize(("name", "ends"), [("zero-to-one", (0.0, 1.0)), ("minus-one-to-one", (-1.0, 1.0))])
def test_scaling_presets_map_pixels_to_the_range_in_their_name(name: str, ends: tuple[float, float]) -> None:
    mean, std = preprocessing_of(name).for_channels(2)
    assert [tuple((pixel / 255 - mean[0]) / std[0] for pixel in (0, 255))] * 2 == [ends] * 2
    assert (mean[0], std[0]) == (mean[1], std[1])


def test_stated_values_replace_those_of_a_preset() -> None:
    changed = preprocessing_of("imagenet").changed(std=(0.5,), image_size=(8, 9), mean=None)
    assert changed.std == (0.5,)
    assert changed.image_size == (8, 9)
    assert changed.mean == preprocessing_of("imagenet").mean


def test_mapping_has_the_names_of_the_fields() -> None:
    assert preprocessing_of({"mean": 0.5, "std": [0.1, 0.2], "image_size": 8, "resize": (9, 10)}) == Preprocessing(
        (0.5,), (0.1, 0.2), (8, 8), (9, 10)
    )


def test_numbers_and_sizes_are_read() -> None:
    assert numbers("mean", "0.5, 0.25 1") == (0.5, 0.25, 1.0)
    assert size("image_size", "224") == (224, 224)
    assert size("image_size", "240x320") == (240, 320)


@pytest.mark.parametrize("text", ["0", "224x", "x", "-3", "1x2x3", "big", "2.5"])
def test_other_sizes_are_errors(text: str) -> None:
    with pytest.raises(ValueError, match="image_size: expected height x width in pixels, such as 224 or 240x320"):
        size("image_size", text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("imagnet", "preprocessing: expected one of imagenet, .*did you mean 'imagenet'"),
        ({"means": (0.5,)}, "expected a mapping with mean, std, image_size and resize"),
    ],
)
def test_other_preprocessing_is_an_error(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        preprocessing_of(given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "mean: .* from 0 to 1, got 123.675, 116.28, 103.53;"),
        ((-123.675,), (1.0,), "mean: expected values of pixels from 0 to 1, got -123.675"),
        ((0.485, 0.456, 0.406), (58.395, 57.12, 57.375), "std: .* from 0 to 1, got 58.395, 57.12, 57.375; divide"),
        ((0.0,), (255.0,), "std: expected values of pixels from 0 to 1, got 255; divide .* by 255"),
    ],
)
def test_values_of_pixels_from_0_to_255_are_an_error(
    mean: tuple[float, ...], std: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing(mean, std).for_channels(3)


@pytest.mark.parametrize(
    ("mean", "std"), [(0.0, 1 / 255), (0.485, 1 / 255), (1.0, 1.0), (-0.5, 0.5), (0.5, 2.0), (0.0, 10.0), (0.0, 1e-6)]
)
def test_values_for_networks_of_any_other_scale_are_kept(mean: float, std: float) -> None:
    """Such as networks of pixels from 0 to 255, with or without the mean subtracted."""
    assert Preprocessing((mean,), (std,)).for_channels(3) == ((mean,) * 3, (std,) * 3)


def test_no_value_is_assumed() -> None:
    """A teacher with another mean is a worse teacher, and nothing says so."""
    with pytest.raises(ValueError, match=r"mean and std: expected the values that the network was trained with"):
        Preprocessing().for_channels(3)
    with pytest.raises(ValueError, match="mean: expected one value for each of 3 channels, got 2"):
        Preprocessing((0.5, 0.5), (0.5,)).for_channels(3)
    with pytest.raises(ValueError, match="mean: expected numbers separated by commas, got 'half'"):
        numbers("mean", "half")
