"""From stored pixels to a network's input: augmentation, normalisation, memory layout."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from distill_worker.data.augmentation.crop_flip import crop_and_flip
from distill_worker.data.augmentation.resized_crop import resized_crop
from distill_worker.data.augmentation.strong import distort
from shared.normalise import normalise

CROP_FLIP: Final = "crop-flip"
STRONG: Final = "strong"
"""Crops and flips, and then the changes of `augmentation.strong`."""
HALF_STRONG: Final = "half-strong"
"""Either of the two, as is drawn for each image."""
RESIZED_CROP: Final = "resized-crop"
"""A random part, resized, and flips."""


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of one data set's images."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int
    horizontal_flip: bool
    channels_last: bool = False
    policy: str = CROP_FLIP
    """The augmentation of training images: one of those above."""
    smallest_crop: float = 1.0
    """For `resized-crop`: the smallest area of the part, in shares of the image."""

    size: tuple[int, int] | None = None
    """Height and width that the network's input is resized to, after the augmentation; None: it is not resized."""

    def augmented(self, images: Tensor, generator: torch.Generator, *, policy: str | None = None) -> Tensor:
        """A newly drawn view of each image, uint8 like `images`; by another policy than the run's, if one is given."""
        policy = policy or self.policy
        if policy == RESIZED_CROP:
            return resized_crop(
                images, smallest=self.smallest_crop, horizontal_flip=self.horizontal_flip, generator=generator
            )
        views = crop_and_flip(
            images, crop_padding=self.crop_padding, horizontal_flip=self.horizontal_flip, generator=generator
        )
        if policy == CROP_FLIP:
            return views
        distorted = distort(views, generator)
        if policy == STRONG:
            return distorted
        is_distorted = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
        return torch.where(is_distorted, distorted, views)

    def normalised(self, images: Tensor) -> Tensor:
        """The network's input, float32, normalised."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return normalise(images, self.mean, self.std, size=self.size).contiguous(memory_format=layout)
