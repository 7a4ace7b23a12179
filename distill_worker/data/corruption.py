"""Corruption of training data and weights on purpose, reproducible by its seed."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor


def noisy_labels(
    labels: Tensor, *, kind: Literal["symmetric", "pairwise"], rate: float, num_classes: int, seed: int
) -> Tensor:
    """Labels, int64 `[samples]`, of which `round(rate * samples)` are wrong: any other class, or the next one.

    For one seed a larger rate corrupts the samples of every smaller one, in the same way.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(labels))
    steps = random.integers(1, num_classes, len(labels)) if kind == "symmetric" else np.ones(len(labels), np.int64)
    chosen = torch.from_numpy(order[: round(rate * len(labels))])
    noisy = labels.clone()
    noisy[chosen] = (labels[chosen] + torch.from_numpy(steps)[chosen]) % num_classes
    return noisy


def imbalanced(
    labels: Tensor, *, kind: Literal["exponential", "step"], ratio: float, num_classes: int, seed: int
) -> Tensor:
    """Ascending positions, int64, of samples whose classes become rarer: class c keeps a share of the rarest class.

    `exponential`: `ratio ** (-c / (classes - 1))`, Cui et al. 2019, arXiv 1901.05555. `step`: the second half of the
    classes `1 / ratio`, Buda et al. 2018, arXiv 1710.05381. At least one sample of each class stays.
    """
    counts = torch.bincount(labels, minlength=num_classes)
    most = int(counts.min())
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(labels)))
    kept = []
    for label in range(num_classes):
        if kind == "exponential":
            share = ratio ** (-label / (num_classes - 1))
        else:
            share = 1.0 if label < num_classes // 2 else 1 / ratio
        of_class = order[labels[order] == label]
        kept.append(of_class[: max(1, round(most * share))])
    return torch.cat(kept).sort().values


def prune_weights(state: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """The weights with the `floor(share * count)` smallest magnitudes of all set to zero; biases and norms stay."""
    names = [name for name, values in state.items() if values.ndim >= 2 and values.is_floating_point()]
    magnitudes = torch.cat([state[name].abs().flatten() for name in names])
    smallest = magnitudes.argsort(stable=True)[: int(share * len(magnitudes))]
    keep = torch.ones(len(magnitudes), dtype=torch.bool)
    keep[smallest] = False
    pruned, start = dict(state), 0
    for name in names:
        values = state[name]
        pruned[name] = values * keep[start : start + values.numel()].view_as(values)
        start += values.numel()
    return pruned
