"""Entropy: the samples of which the student is least certain."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distill_worker.data.selection.candidates import Candidates
from distill_worker.data.selection.scores import log_softmax, smallest


def entropy(candidates: Candidates, n: int, taken: Sequence[int] = ()) -> list[int]:
    """The largest `H(p) = -sum_c p_c log p_c` of the student's distribution p; of equals, the first in hash order.

    Args:
        candidates: with the student's logits `[N, classes]`.
        n: how many to choose.
        taken: positions that are chosen already.

    Returns:
        n positions, in the order of choice; nested for the same student.

    Source: Settles 2009, "Active Learning Literature Survey", section 3.1. Cost: O(N classes).
    """
    return smallest(-entropies(candidates.logits), n, taken)


def entropies(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """The entropy of each sample's softmax, in nats, `[N]`."""
    logs = log_softmax(logits)
    entropy: NDArray[np.float64] = -(np.exp(logs) * logs).sum(axis=1)
    return entropy
