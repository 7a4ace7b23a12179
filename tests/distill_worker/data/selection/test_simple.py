"""Strategies that sort and count, against loops."""

import math

import numpy as np
import pytest

from distill_worker.data.selection import Candidates, choose
from tests.distill_worker.data.selection.clouds import clouds, softmax

TAKEN = [[], [5, 2, 40]]


@pytest.mark.parametrize("taken", TAKEN)
def test_random_is_hash_order(taken: list[int]) -> None:
    assert choose("random", clouds(), 10, taken) == [place for place in range(60) if place not in taken][:10]


@pytest.mark.parametrize("taken", TAKEN)
def test_classes_give_in_turn(taken: list[int]) -> None:
    """The class with the fewest samples gives the next; of several, the one that is met first in hash order."""
    candidates = clouds()
    labels = candidates.labels.tolist()
    turns = list(dict.fromkeys(labels))
    expected: list[int] = []
    for _ in range(30):
        have = [*taken, *expected]
        best = None
        for label in turns:
            left = [place for place in range(60) if labels[place] == label and place not in have]
            given = sum(labels[place] == label for place in have)
            if left and (best is None or given < best[0]):
                best = (given, left[0])
        assert best is not None
        expected.append(best[1])
    assert choose("class-balanced", candidates, 30, taken) == expected


def test_class_that_runs_out_is_passed_over() -> None:
    """By hand: b has one sample, so a and c share what is left."""
    candidates = Candidates(7, 0, labels=np.array([2, 1, 2, 0, 2, 0, 2]))
    assert choose("class-balanced", candidates, 6) == [0, 1, 3, 2, 5, 4]


@pytest.mark.parametrize("taken", TAKEN)
def test_entropy_takes_the_least_certain(taken: list[int]) -> None:
    candidates = clouds()
    entropy = {
        place: -sum(p * math.log(p) for p in softmax(candidates.logits[place].tolist()))
        for place in range(60)
        if place not in taken
    }
    assert choose("entropy", candidates, 20, taken) == sorted(entropy, key=lambda place: -entropy[place])[:20]


@pytest.mark.parametrize("taken", TAKEN)
def test_margin_takes_the_closest_two(taken: list[int]) -> None:
    candidates = clouds()
    margins = {}
    for place in range(60):
        if place not in taken:
            *_, second, first = sorted(softmax(candidates.logits[place].tolist()))
            margins[place] = first - second
    assert choose("margin", candidates, 20, taken) == sorted(margins, key=lambda place: margins[place])[:20]


def test_entropy_and_margin_differ() -> None:
    """By hand: two classes at a half each have the smallest margin, three at a third the largest entropy."""
    logits = np.log(np.array([[0.5, 0.49, 0.01], [0.36, 0.33, 0.31], [0.9, 0.05, 0.05]], np.float32))
    candidates = Candidates(3, 0, logits=logits)
    assert choose("margin", candidates, 1) == [0]
    assert choose("entropy", candidates, 1) == [1]


def test_certainty_has_no_entropy() -> None:
    """Logits that are far apart: 0 log 0 is 0, not a fault."""
    candidates = Candidates(2, 0, logits=np.array([[1e4, -1e4], [0.0, 0.0]], np.float32))
    assert choose("entropy", candidates, 1) == [1]
