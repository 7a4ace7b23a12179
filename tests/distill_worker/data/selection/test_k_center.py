"""k-center against the definition."""

import numpy as np
import pytest

from distill_worker.data.selection import Candidates
from distill_worker.data.selection.k_center import k_center
from tests.distill_worker.data.selection.clouds import clouds, distance


def _by_definition(candidates: Candidates, n: int, taken: list[int]) -> list[int]:
    chosen: list[int] = []
    for _ in range(n):
        have = [*taken, *chosen]
        best, farthest = 0, -1.0
        for place in range(len(candidates)):
            if place not in have:
                nearest = min((distance(candidates, place, centre) for centre in have), default=0.0)
                if nearest > farthest:
                    best, farthest = place, nearest
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("taken", [[], [4], [20, 7, 55]])
@pytest.mark.parametrize("draw", [0, 1, 2])
@pytest.mark.parametrize("front", [1, 3, 16, 768])
def test_always_the_farthest(draw: int, taken: list[int], front: int) -> None:
    """However few of the farthest are looked at together."""
    candidates = clouds(draw=draw)
    assert k_center(candidates, 40, taken, front=front) == _by_definition(candidates, 40, taken)


@pytest.mark.parametrize("front", [1, 2, 3, 5, 8, 768])
@pytest.mark.parametrize("draw", range(8))
def test_of_equals_the_first_in_hash_order(draw: int, front: int) -> None:
    """On a grid nearly all distances are equal to others, and exact."""
    grid = np.stack(np.meshgrid(range(-3, 4), range(-2, 3)), axis=-1).reshape(-1, 2).astype(np.float32)
    candidates = Candidates(35, 0, features=grid[np.random.default_rng(draw).permutation(35)])
    assert k_center(candidates, 30, front=front) == _by_definition(candidates, 30, [])


def test_far_from_the_origin_distances_keep_their_digits() -> None:
    """10,000 away, float32 has three digits less for differences, unless the mean is taken off."""
    candidates = clouds()
    moved = Candidates(60, 0, features=candidates.features + np.float32(4096))
    exact = Candidates(60, 0, features=(moved.features - np.float32(4096)))
    assert k_center(moved, 40) == _by_definition(exact, 40, [])
