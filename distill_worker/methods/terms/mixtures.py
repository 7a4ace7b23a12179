"""Mixtures of a batch, whose targets are the mixtures of stored targets and cost no call.

A batch, a mixture and the generator that draws it are on one device.

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
        parts = images.to(torch.float32)[self.members]
        if self.boxes is None:
            return (parts * self.shares[:, :, None, None, None]).sum(dim=1)
        top, left, bottom, right = self.boxes[:, :, None].unbind(1)
        rows = torch.arange(images.shape[2], device=images.device)
        columns = torch.arange(images.shape[3], device=images.device)
        down, across = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
        inside = (down[:, :, None] & across[:, None, :])[:, None]
        return torch.where(inside, parts[:, 1], parts[:, 0])

    def probabilities(self, probabilities: Tensor) -> Tensor:
        """The mixed rows of `[batch, classes]`."""
        return (probabilities[self.members] * self.shares[:, :, None]).sum(dim=1)

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """The logarithm of the mixed softmaxes, `[batch, classes]`: like logits for a loss that ignores shifts."""
        parts = logits.log_softmax(dim=1)[self.members]
        return (parts + self.shares.log()[:, :, None]).logsumexp(dim=1)


def draw_mixup(batch: int, *, parts: int = 2, alpha: float = 1.0, generator: torch.Generator) -> Mixture:
    """Each sample with `parts - 1` others, shares from a symmetric Dirichlet (for two parts: Beta) distribution."""
    shares = _distributions(generator).dirichlet(alpha, batch, parts)
    return Mixture(_members(batch, parts, generator), shares.to(torch.float32))


def draw_cutmix(batch: int, *, height: int, width: int, alpha: float = 1.0, generator: torch.Generator) -> Mixture:
    """Each sample with a box of another, of an area share from Beta(alpha, alpha), cut off at the border.

    The shares are those of the drawn box, in whole pixels.
    """
    drawn = _distributions(generator)
    side = drawn.square_roots(alpha, batch)
    centres = drawn.integers((height, width), batch)
    halves = torch.stack([(side * length).long() // 2 for length in (height, width)], dim=1)
    low = (centres - halves).clamp(min=0)
    high = torch.stack(
        [end.clamp(max=length) for end, length in zip((centres + halves).unbind(1), (height, width), strict=True)],
        dim=1,
    )
    pasted = ((high - low).prod(dim=1).double() / (height * width)).to(torch.float32)
    shares = torch.stack([1 - pasted, pasted], dim=1)
    return Mixture(_members(batch, 2, generator), shares, torch.cat([low, high], dim=1))


def _members(batch: int, parts: int, generator: torch.Generator) -> Tensor:
    device = generator.device
    others = [torch.randperm(batch, generator=generator, device=device) for _ in range(parts - 1)]
    return torch.stack([torch.arange(batch, device=device), *others], dim=1)


def _distributions(generator: torch.Generator) -> "_NumPyDistributions | _DeviceDistributions":
    return _NumPyDistributions(generator) if generator.device.type == "cpu" else _DeviceDistributions(generator)


class _NumPyDistributions:
    """Draws on the CPU. They must stay: outputs were bought on the mixtures that they gave."""

    def __init__(self, generator: torch.Generator) -> None:
        self._random = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))

    def dirichlet(self, alpha: float, batch: int, parts: int) -> Tensor:
        """Rows of the symmetric Dirichlet distribution, float64 `[batch, parts]`."""
        return torch.from_numpy(self._random.dirichlet([alpha] * parts, size=batch))

    def square_roots(self, alpha: float, batch: int) -> Tensor:
        """Square roots of the symmetric Beta distribution, float64 `[batch]`; by NumPy, as torch's differ in a bit."""
        return torch.from_numpy(np.sqrt(self._random.beta(alpha, alpha, size=batch)))

    def integers(self, limits: tuple[int, ...], batch: int) -> Tensor:
        """Integers from 0 to below each limit, int64 `[batch, limits]`."""
        return torch.from_numpy(self._random.integers(0, limits, size=(batch, len(limits))))


class _DeviceDistributions:
    """The same distributions by other draws, on the device of a generator, which is not waited for."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def dirichlet(self, alpha: float, batch: int, parts: int) -> Tensor:
        """Gamma variables divided by their sum, in float64, where they stay above 0 for a small alpha."""
        alphas = torch.full((batch, parts), alpha, dtype=torch.float64, device=self._generator.device)
        gammas = torch._standard_gamma(alphas, generator=self._generator)
        return gammas / gammas.sum(dim=1, keepdim=True)

    def square_roots(self, alpha: float, batch: int) -> Tensor:
        """Of the first of two shares."""
        return self.dirichlet(alpha, batch, 2)[:, 0].sqrt()

    def integers(self, limits: tuple[int, ...], batch: int) -> Tensor:
        """One column after the other."""
        device = self._generator.device
        columns = [torch.randint(limit, (batch,), generator=self._generator, device=device) for limit in limits]
        return torch.stack(columns, dim=1)
