"""Strong augmentation: each image is warped, its tones are changed, and a box of it is cut out.

Nothing is read from the device: all draws of a batch are made at once, and every image takes every change, each with a
magnitude of its own, uniform between limits.

Source: the kinds of change are those of RandAugment (Cubuk et al. 2019, arXiv 1909.13719) that need no flip and keep
the classes of digits and letters, and Cutout (DeVries and Taylor 2017, arXiv 1708.04552).
Departs: RandAugment draws two kinds for each image, one after the other; here all are applied, in one warp and one
change of tones, with smaller limits.
"""

from math import log, radians
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

ROTATION: Final = radians(15)
SCALE: Final = log(1.2)
"""The logarithm of the largest factor; the smallest is its inverse."""
SHEAR: Final = 0.2
"""The shift of a row, divided by its distance from the middle row."""
SHIFT: Final = 0.1
"""In each direction; a share of the image's side."""
GAMMA: Final = log(1.5)
"""The logarithm of the largest exponent; the smallest is its inverse."""
CONTRAST: Final = 0.3
"""The largest relative change of the distance from the image's mean."""
BRIGHTNESS: Final = 0.3
"""The largest relative change of the pixels."""
CUTOUT: Final = 0.5
"""The longest side of the box; a share of the image's side."""


def distort(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image is warped, with zeros around it; its tones are changed; and a box is filled with its mean.

    Args:
        images: uint8 `[batch, channels, height, width]`, on any device.
        generator: on the images' device, so that no draw is waited for.

    Returns:
        Like `images`; a new tensor.
    """
    draws = torch.rand(11, len(images), 1, 1, generator=generator, device=images.device)
    pixels = images.to(torch.float32) / 255
    pixels = _warped(pixels, *(2 * draws[:5] - 1))
    pixels = _toned(pixels, *(2 * draws[5:8, :, None] - 1))
    pixels = _cut_out(pixels, *draws[8:])
    return (255 * pixels).round().to(torch.uint8)


def _warped(
    pixels: Tensor, rotation: Tensor, scale: Tensor, shear: Tensor, shift_right: Tensor, shift_down: Tensor
) -> Tensor:
    """Rotated, scaled, sheared and shifted about the centre; the draws, `[batch, 1, 1]`, are from -1 to 1."""
    height, width = pixels.shape[2:]
    down, right = _from_centre(height, pixels.device)[:, None], _from_centre(width, pixels.device)
    angle, factor = ROTATION * rotation, (SCALE * scale).exp()
    sheared = right + SHEAR * shear * down
    source_right = factor * (angle.cos() * sheared - angle.sin() * down) + SHIFT * width * shift_right
    source_down = factor * (angle.sin() * sheared + angle.cos() * down) + SHIFT * height * shift_down
    places = torch.stack([2 * source_right / width, 2 * source_down / height], dim=3)
    return grid_sample(pixels, places, mode="bilinear", padding_mode="zeros", align_corners=False)


def _toned(pixels: Tensor, gamma: Tensor, contrast: Tensor, brightness: Tensor) -> Tensor:
    """With another gamma, contrast and brightness; the draws, `[batch, 1, 1, 1]`, are from -1 to 1."""
    pixels = pixels.clamp(0, 1).pow((GAMMA * gamma).exp())
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels = mean + (1 + CONTRAST * contrast) * (pixels - mean)
    return ((1 + BRIGHTNESS * brightness) * pixels).clamp(0, 1)


def _cut_out(pixels: Tensor, side: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """With the mean colour in a box around a place of the image; the draws, `[batch, 1, 1]`, are from 0 to 1."""
    height, width = pixels.shape[2:]
    distances = [
        (_from_centre(length, pixels.device) - length * (place - 0.5)).abs() / length
        for length, place in ((height, down), (width, right))
    ]
    is_inside = (distances[0].transpose(1, 2) < CUTOUT * side / 2) & (distances[1] < CUTOUT * side / 2)
    return torch.where(is_inside[:, None], pixels.mean(dim=(2, 3), keepdim=True), pixels)


def _from_centre(length: int, device: torch.device) -> Tensor:
    return torch.arange(length, device=device) - (length - 1) / 2
