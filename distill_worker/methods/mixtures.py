"""Mixtures of a batch, whose targets are the mixtures of stored targets and cost no call.

Sources: mixup, Zhang et al. 2018, arXiv 1710.09412; CutMix, Yun et al. 2019, arXiv 1905.04899.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """Which samples of a batch are mixed into each, and how much of each."""

    members: Tensor
    """int64 `[batch, parts]`; the first is the sample itself."""
    shares: Tensor
    """float32 `[batch, parts]`; each row sums to 1."""
    boxes: Tensor | None = None
    """For CutMix: int64 `[batch, 4]`, top, left, bottom, right of the box pasted from the second member."""

    def images(self, images: Tensor) -> Tensor:
        """The mixtures of uint8 or float images `[batch, channels, height, width]`, float32 of the same scale."""
        parts = images.to(torch.float32)[self.members.to(images.device)]
        if self.boxes is None:
            return (parts * self.shares.to(images.device)[:, :, None, None, None]).sum(dim=1)
        top, left, bottom, right = self.boxes.to(images.device)[:, :, None].unbind(1)
        rows = torch.arange(images.shape[2], device=images.device)
        columns = torch.arange(images.shape[3], device=images.device)
        down, across = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
        inside = (down[:, :, None] & across[:, None, :])[:, None]
        return torch.where(inside, parts[:, 1], parts[:, 0])

    def probabilities(self, probabilities: Tensor) -> Tensor:
        """The mixed rows of `[batch, classes]`."""
        device = probabilities.device
        parts = probabilities[self.members.to(device)]
        return (parts * self.shares.to(device)[:, :, None]).sum(dim=1)

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """The logarithm of the mixed softmaxes, `[batch, classes]`: like logits for a loss that ignores shifts."""
        device = logits.device
        parts = logits.log_softmax(dim=1)[self.members.to(device)]
        return (parts + self.shares.to(device).log()[:, :, None]).logsumexp(dim=1)


def draw_mixup(batch: int, *, parts: int = 2, alpha: float = 1.0, generator: torch.Generator) -> Mixture:
    """Each sample with `parts - 1` others, shares from a symmetric Dirichlet (for two parts: Beta) distribution."""
    shares = _numpy(generator).dirichlet([alpha] * parts, size=batch)
    return Mixture(_members(batch, parts, generator), torch.from_numpy(shares).to(torch.float32))


def draw_cutmix(batch: int, *, height: int, width: int, alpha: float = 1.0, generator: torch.Generator) -> Mixture:
    """Each sample with a box of another, of an area share from Beta(alpha, alpha), cut off at the border.

    The shares are those of the drawn box, in whole pixels.
    """
    random = _numpy(generator)
    side = np.sqrt(random.beta(alpha, alpha, size=batch))
    centres = random.integers(0, (height, width), size=(batch, 2))
    halves = (side[:, None] * (height, width)).astype(np.int64) // 2
    low = np.maximum(centres - halves, 0)
    high = np.minimum(centres + halves, (height, width))
    boxes = torch.from_numpy(np.concatenate([low, high], axis=1))
    pasted = torch.from_numpy((high - low).prod(axis=1) / (height * width)).to(torch.float32)
    return Mixture(_members(batch, 2, generator), torch.stack([1 - pasted, pasted], dim=1), boxes)


def _members(batch: int, parts: int, generator: torch.Generator) -> Tensor:
    others = [torch.randperm(batch, generator=generator) for _ in range(parts - 1)]
    return torch.stack([torch.arange(batch), *others], dim=1)


def _numpy(generator: torch.Generator) -> np.random.Generator:
    """A NumPy generator, for distributions that torch cannot draw with a given generator."""
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
