"""Margin: the samples whose two likeliest classes are nearly as likely to the student."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distill_worker.data.selection.candidates import Candidates
from distill_worker.data.selection.scores import log_softmax, smallest


def margin(candidates: Candidates, n: int, taken: Sequence[int] = ()) -> list[int]:
    """The smallest `p_1 - p_2`, the student's two largest probabilities; of equals, the first in hash order.

    Args:
        candidates: with the student's logits `[N, classes]`.
        n: how many to choose.
        taken: positions that are chosen already.

    Returns:
        n positions, in the order of choice; nested for the same student.

    Source: Scheffer et al. 2001, "Active Hidden Markov Models for Information Extraction". Cost: O(N classes).
    """
    return smallest(margins(candidates.logits), n, taken)


def margins(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """The difference of each sample's two largest probabilities, `[N]`, from 0 to 1."""
    two = np.partition(np.exp(log_softmax(logits)), -2, axis=1)[:, -2:]
    margin: NDArray[np.float64] = two[:, 1] - two[:, 0]
    return margin
