"""The classes that a student confuses."""

import torch
from torch import Tensor


def confusion(labels: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """How many samples of each label are predicted as each class, int64 `[labels, predicted classes]`.

    Args:
        labels: int64 `[samples]`.
        predicted: int64 `[samples]`.
        num_classes: at least 2.
    """
    pairs = torch.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def class_accuracy(counts: Tensor) -> list[float | None]:
    """The share of each class that is predicted right; None for a class without samples. `counts`: see `confusion`."""
    right, samples = counts.diagonal().tolist(), counts.sum(dim=1).tolist()
    return [hits / total if total else None for hits, total in zip(right, samples, strict=True)]
