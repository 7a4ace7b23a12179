"""k-center-softmax: always the sample whose class probabilities are, to the student, farthest from all chosen ones."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from distill_worker.data.selection.candidates import Candidates
from distill_worker.data.selection.k_center import k_center
from distill_worker.data.selection.scores import log_softmax


def k_center_softmax(candidates: Candidates, n: int, taken: Sequence[int] = ()) -> list[int]:
    """`k_center` by the distance `|p - p'|` between the student's distributions p: diverse where the student decides.

    Args:
        candidates: with the student's logits `[N, classes]`.
        n: how many to choose.
        taken: positions that are chosen already; they are centres, with the student's distributions as all others.

    Returns:
        n positions, in the order of choice; nested for the same student.

    Source: Pal et al. 2019, arXiv 1905.09165, which copies a model by few queries: its k-center strategy, on softmax
    outputs.
    Cost: O(n N classes).
    """
    probabilities = np.exp(log_softmax(candidates.logits)).astype(np.float32)
    return k_center(replace(candidates, features=probabilities), n, taken)
