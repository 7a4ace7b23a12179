"""Scores of samples from a student's logits, and the samples with the smallest ones."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log-probabilities over the classes, `[N, classes]`."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    logs: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


def smallest(scores: NDArray[np.float64], n: int, taken: Sequence[int]) -> list[int]:
    """Positions of the n smallest scores that are not taken, smallest first; of equals, the first."""
    order = np.argsort(scores, kind="stable")
    left = order[~np.isin(order, np.asarray(taken, np.int64))]
    return [int(position) for position in left[:n]]
