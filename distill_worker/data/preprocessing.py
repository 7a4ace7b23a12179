"""From stored pixels to a network's input: random crops and flips, normalisation, memory layout."""

from dataclasses import dataclass

import torch
from torch import Tensor

from distill_worker.data.augment import augment
from shared.normalise import normalise


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of one data set's images."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int
    horizontal_flip: bool
    channels_last: bool = False

    def augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Newly drawn crops and flips, uint8 like `images`."""
        return augment(
            images, crop_padding=self.crop_padding, horizontal_flip=self.horizontal_flip, generator=generator
        )

    def normalised(self, images: Tensor) -> Tensor:
        """The network's input, float32, normalised."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return normalise(images, self.mean, self.std).contiguous(memory_format=layout)
