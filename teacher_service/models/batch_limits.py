"""Passes of a model that takes only some batch sizes: a batch is cut into parts, and a short part is filled up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class BatchLimits:
    """The batch sizes that a model takes."""

    least: int = 1
    most: int | None = None
    """None for no limit."""

    def run(self, model: Callable[[Tensor], Sequence[Tensor]], images: Tensor) -> list[Tensor]:
        """The outputs of all images, each `[images, ...]`, from as many passes as the model needs.

        Args:
            model: from a batch to its outputs, each `[batch, ...]`. Each sample's outputs depend on that sample alone.
            images: float `[images, channels, height, width]`, at least one.

        Raises:
            ValueError: an output has not one row for each image of a batch.
        """
        parts = [self._part(model, part) for part in torch.split(images, self.most or len(images))]
        return [torch.cat(output) for output in zip(*parts, strict=True)]

    def _part(self, model: Callable[[Tensor], Sequence[Tensor]], images: Tensor) -> list[Tensor]:
        absent = self.least - len(images)
        filled = images if absent <= 0 else torch.cat([images, images.new_zeros(absent, *images.shape[1:])])
        outputs = list(model(filled))
        for output in outputs:
            if output.ndim < 1 or len(output) != len(filled):
                raise ValueError(f"expected outputs of {len(filled)} images, got the shape {list(output.shape)}")
        return [output[: len(images)] for output in outputs]
