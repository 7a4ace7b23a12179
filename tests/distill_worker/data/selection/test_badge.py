"""BADGE against gradients that are written out, and against the probabilities of k-means++."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from distill_worker.data.selection import Candidates, choose
from distill_worker.data.selection.badge import badge, draws
from tests.distill_worker.data.selection.clouds import clouds


def _gradients(candidates: Candidates) -> NDArray[np.float64]:
    """Of the cross-entropy at the likeliest class, by the last layer's weights; derived automatically."""
    found = []
    for logits, feature in zip(candidates.logits, candidates.features, strict=True):
        h = torch.from_numpy(feature).double()
        # Some weights that give these logits.
        weights = torch.outer(torch.from_numpy(logits).double(), h / h.dot(h)).requires_grad_()
        out = weights @ h
        cross_entropy(out[None], out.argmax()[None]).backward()  # type: ignore[no-untyped-call]
        assert weights.grad is not None
        found.append(weights.grad.flatten().numpy())
    return np.stack(found)


def _by_definition(candidates: Candidates, n: int, taken: list[int], waiting: int) -> list[int]:
    """The documented draws, with every distance taken from written-out gradients in a loop."""
    gradients = _gradients(candidates)

    def nearest(place: int, centres: list[int]) -> float:
        if place in taken or place in centres:
            return 0.0
        return float(min(((gradients[place] - gradients[centre]) ** 2).sum() for centre in centres))

    chosen = [next(place for place in range(len(candidates)) if place not in taken)]
    settled, attempt = 1, 0
    while len(chosen) < n:
        if len(chosen) - settled == waiting or attempt == 64:
            settled, attempt = len(chosen), 0
        known = [nearest(place, chosen[:settled]) for place in range(len(candidates))]
        first, second = draws(candidates.seed, len(taken) + settled, len(chosen) - settled, attempt)
        aim = first * sum(known)
        at = next(place for place in range(len(candidates)) if sum(known[: place + 1]) > aim)
        if second * known[at] < nearest(at, chosen):
            chosen.append(at)
            attempt = 0
        else:
            attempt += 1
    return chosen


@pytest.mark.parametrize("taken", [[], [0, 30, 31]])
@pytest.mark.parametrize("waiting", [1, 2, 7, 64])
@pytest.mark.parametrize("draw", [0, 1])
def test_draws_are_the_documented_ones(draw: int, waiting: int, taken: list[int]) -> None:
    candidates = clouds(40, seed=draw, draw=draw, width=3)
    assert badge(candidates, 25, taken, most_waiting=waiting) == _by_definition(candidates, 25, taken, waiting)


@pytest.mark.parametrize("waiting", [1, 64])
def test_probabilities_are_those_of_k_means_plus_plus(waiting: int) -> None:
    """4,000 seeds, three of five samples: each outcome as often as it should be, within four standard deviations."""
    base = clouds(5, width=2, draw=4)
    gradients = _gradients(base)
    squares = ((gradients[:, None] - gradients) ** 2).sum(axis=2)
    runs = 4000
    counted = Counter(
        tuple(badge(Candidates(5, seed, features=base.features, logits=base.logits), 3, most_waiting=waiting))
        for seed in range(runs)
    )
    for second, third in permutations(range(1, 5), 2):
        nearest = np.minimum(squares[0], squares[second])
        chance = squares[0, second] / squares[0].sum() * nearest[third] / nearest.sum()
        spread = (runs * chance * (1 - chance)) ** 0.5
        assert counted[0, second, third] == pytest.approx(runs * chance, abs=4 * spread + 1)


def test_student_without_doubt_leaves_hash_order() -> None:
    """All gradients are 0: nothing would move it."""
    certain = np.where(np.eye(3, dtype=bool)[[0, 1, 2, 0]], 1e4, -1e4).astype(np.float32)
    candidates = Candidates(4, 0, features=np.ones((4, 2), np.float32), logits=certain)
    assert choose("badge", candidates, 3, [0]) == [1, 2, 3]
