"""k-center-softmax against the definition."""

import math

import pytest

from distill_worker.data.selection import Candidates
from distill_worker.data.selection.k_center_softmax import k_center_softmax
from tests.distill_worker.data.selection.clouds import clouds, softmax


def _by_definition(candidates: Candidates, n: int, taken: list[int]) -> list[int]:
    """Always the sample with the largest distance of its softmax to the nearest one that is chosen or taken."""
    probabilities = [softmax(logits) for logits in candidates.logits.tolist()]
    chosen: list[int] = [] if taken else [0]
    while len(chosen) < n:
        centres = [probabilities[place] for place in (*taken, *chosen)]
        left = [place for place in range(len(candidates)) if place not in (*taken, *chosen)]
        chosen.append(max(left, key=lambda place: min(math.dist(probabilities[place], centre) for centre in centres)))
    return chosen


@pytest.mark.parametrize("taken", [[], [4], [20, 7, 55]])
@pytest.mark.parametrize("draw", [0, 1, 2])
def test_always_the_farthest_in_the_space_of_probabilities(draw: int, taken: list[int]) -> None:
    candidates = clouds(draw=draw)
    assert k_center_softmax(candidates, 30, taken) == _by_definition(candidates, 30, taken)


def test_neither_the_features_nor_a_shift_of_the_logits_count() -> None:
    """A softmax is the same after a shift."""
    candidates = clouds()
    shifted = Candidates(60, 0, logits=candidates.logits + 8)
    assert k_center_softmax(shifted, 10) == k_center_softmax(candidates, 10)
