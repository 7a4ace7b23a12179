"""From stored pixels to what a network is given: random crops and flips, normalisation, memory layout."""

from dataclasses import dataclass

import torch
from torch import Tensor

from distill_worker.data.augment import augment
from shared.normalise import normalise


@dataclass(frozen=True)
class Preprocessing:
    """From stored pixels to what a network sees."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int
    horizontal_flip: bool
    channels_last: bool = False

    def augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Fresh crops and flips, still pixels."""
        return augment(
            images, crop_padding=self.crop_padding, horizontal_flip=self.horizontal_flip, generator=generator
        )

    def normalised(self, images: Tensor) -> Tensor:
        """What the network is given."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return normalise(images, self.mean, self.std).contiguous(memory_format=layout)
