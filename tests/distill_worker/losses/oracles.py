"""What the oracles share: sums over samples and classes written out, and inputs for them."""

import torch
from torch import Tensor


def rows(batch: int, *shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Random float64 values `[batch, ...]`."""
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(batch, *shape, generator=generator, dtype=torch.float64)


def softmax(scores: Tensor) -> list[Tensor]:
    """The softmax of one sample's scores, class by class."""
    top = max(float(score.detach()) for score in scores)
    powers = [(score - top).exp() for score in scores]
    return [power / torch.stack(powers).sum() for power in powers]


def dot(first: Tensor, second: Tensor) -> Tensor:
    """The inner product, value by value."""
    return torch.stack([a * b for a, b in zip(first, second, strict=True)]).sum()


def mean(values: list[Tensor]) -> Tensor:
    """The mean of scalars."""
    return torch.stack(values).sum() / len(values)
