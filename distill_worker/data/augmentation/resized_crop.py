"""Random-resized crops of a whole batch at once, on the device that the images live on."""

from math import log
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

ASPECT: Final = log(4 / 3)
"""The logarithm of the largest stretch of a crop; the smallest is its inverse."""


def resized_crop(images: Tensor, *, smallest: float, horizontal_flip: bool, generator: torch.Generator) -> Tensor:
    """A random part of each image, resized to the size of the image, and flipped with probability 1/2.

    The area of the part is uniform between `smallest` and 1, in shares of the image; its stretch, width by height in
    shares of the image's sides, is log-uniform between 3/4 and 4/3; its place is uniform. Bilinear.

    Args:
        images: uint8 `[batch, channels, height, width]`, on any device.
        smallest: the smallest area, within (0, 1].
        horizontal_flip: whether to flip at all.
        generator: on the images' device, so that no draw is waited for.

    Returns:
        Like `images`; a new tensor.

    Source:
        Szegedy et al. 2015, arXiv 1409.4842, section 6: areas from 0.08, aspects from 3/4 to 4/3.
    Departs: a side that would be longer than the image's is as long as it; a bilinear value at the edge of a part
    also sees the pixel beside it.
    """
    area, stretch, down, right, flip = torch.rand(5, len(images), 1, generator=generator, device=images.device)
    area, stretch = smallest + (1 - smallest) * area, (ASPECT * (2 * stretch - 1)).exp()
    height, width = ((area * factor).sqrt().clamp(max=1) for factor in (1 / stretch, stretch))
    # From -1 to 1 over the image: the centre of a part leaves room for half of it on each side.
    rows = (1 - height) * (2 * down - 1) + height * _places(images.shape[2], images.device)
    columns = (1 - width) * (2 * right - 1) + width * _places(images.shape[3], images.device)
    if horizontal_flip:
        columns = torch.where(flip < 0.5, columns.flip(1), columns)
    across = columns[:, None, :].expand(-1, images.shape[2], -1)
    places = torch.stack([across, rows[:, :, None].expand_as(across)], dim=3)
    pixels = images.to(torch.float32)
    parts = grid_sample(pixels, places, mode="bilinear", padding_mode="border", align_corners=False)
    return parts.round().to(torch.uint8)


def _places(length: int, device: torch.device) -> Tensor:
    """The centres of so many pixels, from -1 to 1 over all of them."""
    return (2 * torch.arange(length, device=device) + 1) / length - 1
