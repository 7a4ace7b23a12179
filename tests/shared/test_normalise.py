"""Preprocessing, against the formula spelled out pixel by pixel."""

import numpy as np
import pytest
import torch

from shared.normalise import normalise


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0.0,), (1.0,)), ((0.5,), (0.25,)), ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))],
)
def test_normalise_follows_the_formula_for_every_pixel_value(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """`(pixel / 255 - mean) / std`, here in double precision, one pixel at a time."""
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(2, len(mean), 1, 1)
    result = normalise(images, mean, std)
    assert (result.dtype, result.shape) == (torch.float32, images.shape)
    for channel, (channel_mean, channel_std) in enumerate(zip(mean, std, strict=True)):
        expected = [(pixel / 255 - channel_mean) / channel_std for pixel in range(256)]
        for sample in range(2):
            np.testing.assert_allclose(result[sample, channel].flatten().tolist(), expected, rtol=2e-6, atol=2e-6)


def test_normalise_gives_the_known_bits() -> None:
    """Teacher and student must agree to the last bit; 0.5 and 0.25 make every step but the scale exact."""
    images = torch.tensor([0, 51, 102, 255], dtype=torch.uint8).view(1, 1, 2, 2)
    scale = np.float32(1 / 63.75)
    expected = [np.float32(pixel - 127.5) * scale for pixel in (0, 51, 102, 255)]
    assert normalise(images, (0.5,), (0.25,)).flatten().tolist() == [float(value) for value in expected]


def test_normalise_leaves_its_input_alone() -> None:
    images = torch.full((1, 1, 2, 2), 200, dtype=torch.uint8)
    normalise(images, (0.5,), (0.5,))
    assert images.tolist() == [[[[200, 200], [200, 200]]]]


def test_resized_images_are_the_two_nearest_pixels_mixed_by_distance() -> None:
    """Doubling a row of two pixels: the new centres lie at 0, 1/4, 3/4 and 1 of the way."""
    images = torch.tensor([0, 200], dtype=torch.uint8).view(1, 1, 1, 2)
    seen = normalise(images, (0.0,), (1.0,), size=(1, 4))
    np.testing.assert_allclose(seen.flatten() * 255, [0, 50, 150, 200], rtol=1e-6, atol=1e-4)
