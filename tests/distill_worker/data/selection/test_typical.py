"""Typical against loops over clusters and neighbours."""

import math

import numpy as np
import pytest

from distill_worker.data.selection import Candidates, choose
from distill_worker.data.selection.typical import clusters, mean_distances
from tests.distill_worker.data.selection.clouds import clouds, distance


def _lloyd(points: list[list[float]], count: int) -> list[int]:
    centres, labels = points[:count], [-1] * len(points)
    for _ in range(20):
        before = labels
        labels = [min(range(count), key=lambda label: math.dist(point, centres[label])) for point in points]
        if labels == before:
            break
        for label in range(count):
            members = [point for point, mine in zip(points, labels, strict=True) if mine == label]
            if members:
                centres[label] = [sum(values) / len(members) for values in zip(*members, strict=True)]
    return labels


def _by_definition(candidates: Candidates, n: int, taken: list[int]) -> list[int]:
    labels = _lloyd(candidates.features.tolist(), n + len(taken))
    chosen: list[int] = []
    for _ in range(n):
        have = [*taken, *chosen]
        best: tuple[tuple[int, int, int, int], list[int]] | None = None
        for label in set(labels):
            members = [place for place in range(len(candidates)) if labels[place] == label]
            order = (len(members) <= 5, sum(place in have for place in members), -len(members), members[0])
            if set(members) - set(have) and (best is None or order < best[0]):
                best = (order, members)
        assert best is not None
        members = best[1]
        typicality = {
            place: sum(sorted(distance(candidates, place, other) for other in members if other != place)[:20])
            for place in members
        }
        chosen.append(min(set(members) - set(have), key=lambda place: (typicality[place], place)))
    return chosen


@pytest.mark.parametrize("taken", [[], [4], [20, 7, 55]])
@pytest.mark.parametrize(("n", "draw"), [(1, 0), (4, 0), (4, 1), (9, 2), (25, 3)])
def test_clusters_give_their_most_typical_in_turn(n: int, draw: int, taken: list[int]) -> None:
    candidates = clouds(120, draw=draw)
    assert choose("typical", candidates, n, taken) == _by_definition(candidates, n, taken)


@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_clusters_are_lloyds(count: int) -> None:
    candidates = clouds(100)
    assert clusters(candidates.features, count).tolist() == _lloyd(candidates.features.tolist(), count)


@pytest.mark.parametrize("count", [1, 2, 15, 60])
def test_mean_distance_is_of_the_nearest_others(count: int) -> None:
    candidates = clouds(count)
    expected = [
        np.mean(sorted(distance(candidates, place, other) for other in range(count) if other != place)[:20] or [0.0])
        for place in range(count)
    ]
    assert mean_distances(candidates.features) == pytest.approx(expected, rel=1e-5)


def test_middle_of_a_cloud_is_typical() -> None:
    """By hand: three points in a row and one far off; the middle one has the smallest mean distance."""
    points = np.array([[0.0], [100.0], [1.0], [-1.0]], np.float32)
    assert mean_distances(points, neighbours=2).tolist() == pytest.approx([1.0, 99.5, 1.5, 1.5])
