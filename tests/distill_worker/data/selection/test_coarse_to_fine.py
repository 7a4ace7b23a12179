"""Coarse to fine against its stages: each is what `typical` selects beside the earlier ones."""

from dataclasses import replace
from importlib import import_module

import pytest

from distill_worker.data.selection import choose
from tests.distill_worker.data.selection.clouds import clouds


@pytest.mark.parametrize(("n", "ends"), [(5, [8]), (8, [8]), (9, [8, 16]), (50, [8, 16, 32, 64])])
def test_each_stage_is_typical_beside_the_earlier_ones(n: int, ends: list[int]) -> None:
    candidates = clouds(300, of=9)
    expected: list[int] = []
    for end in ends:
        expected += choose("typical", candidates, end - len(expected), expected)
    assert choose("coarse-to-fine", candidates, n) == expected[:n]


@pytest.mark.parametrize("first", [3, 8, 11, 40])
def test_what_is_bought_is_gone_on_from(first: int) -> None:
    """Two purchases select what one does, also if the first ends within a stage."""
    candidates = clouds(300, of=9)
    at_once = choose("coarse-to-fine", candidates, 90)
    assert choose("coarse-to-fine", candidates, 90 - first, at_once[:first]) == at_once[first:]


def test_few_samples_show_every_cloud() -> None:
    """9 clouds, 16 samples: the random ones miss some of them, and these do not."""
    candidates = clouds(300, of=9)
    seen = {name: {*candidates.labels[choose(name, candidates, 16)]} for name in ("random", "coarse-to-fine")}
    assert len(seen["random"]) < len(seen["coarse-to-fine"]) == 9


def test_large_set_is_judged_by_its_first_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until a stage is large, which keeps the time of a selection the same for any number of images."""
    monkeypatch.setattr(import_module("distill_worker.data.selection.coarse_to_fine"), "MOST_CANDIDATES", 100)
    candidates = clouds(900, of=9)
    among = replace(candidates, count=100, features=candidates.features[:100])
    assert choose("coarse-to-fine", candidates, 8) == choose("coarse-to-fine", among, 8)
    assert max(choose("coarse-to-fine", candidates, 64)) >= 100
