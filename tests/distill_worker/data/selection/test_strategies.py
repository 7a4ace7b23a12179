"""What all strategies promise: so many, none twice, none that is taken, and nested where they say so."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from distill_worker.cli.command import app
from distill_worker.data.selection import STRATEGIES, Candidates, choose, described
from tests.distill_worker.data.selection.clouds import clouds

NESTED = [name for name, strategy in STRATEGIES.items() if strategy.nested != "from n = 500 on"]


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("taken", [[], [3, 0, 58]])
def test_choice_is_of_others_and_none_twice(name: str, taken: list[int]) -> None:
    for n in (1, 2, 30, 60 - len(taken)):
        chosen = choose(name, clouds(), n, taken)
        assert len(chosen) == len(set(chosen)) == n
        assert set(chosen) <= set(range(60)) - set(taken)
        assert all(type(position) is int for position in chosen)


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize("taken", [[], [7, 11]])
def test_larger_choice_begins_with_the_smaller(name: str, taken: list[int]) -> None:
    choices = [choose(name, clouds(150), n, taken) for n in range(1, 140)]
    assert all(choices[-1][: len(choice)] == choice for choice in choices)


def test_typical_is_nested_where_it_says_so() -> None:
    """From 500 samples on there are 500 clusters, however many samples."""
    candidates = clouds(900, of=9)
    small, large = choose("typical", candidates, 500), choose("typical", candidates, 700)
    assert large[:500] == small
    assert choose("typical", candidates, 100) != small[:100]


@pytest.mark.parametrize("name", STRATEGIES)
def test_choice_is_the_same_again(name: str) -> None:
    assert choose(name, clouds(200), 50) == choose(name, clouds(200), 50)


@pytest.mark.parametrize("name", STRATEGIES)
def test_equal_samples_are_chosen_in_hash_order(name: str) -> None:
    """Where nothing tells samples apart, position does."""
    same = Candidates(9, 0, np.zeros(9, np.int64), np.ones((9, 2), np.float32), np.zeros((9, 3), np.float32))
    assert choose(name, same, 4) == [0, 1, 2, 3]
    assert choose(name, same, 3, [1, 2]) == [0, 3, 4]


@pytest.mark.parametrize("name", STRATEGIES)
def test_more_than_are_left_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="n: expected at most 58, the samples that are left, got 59"):
        choose(name, clouds(), 59, [0, 1])


def test_every_strategy_is_described() -> None:
    rows = {row["name"]: row for row in described()}
    assert list(rows) == list(STRATEGIES)
    assert rows["badge"]["needs"] == ["student"]
    assert rows["class-balanced"]["needs"] == ["labels"]
    assert "farthest" in rows["k-center"]["summary"]
    assert all(row["summary"] and row["paper"] for row in rows.values())


def test_strategies_are_listed_by_the_command() -> None:
    """Text names every strategy; JSON says what it needs."""
    text, told = (CliRunner().invoke(app, ["strategies", *options]).stdout for options in ([], ["--json"]))
    assert {line.split()[0] for line in text.splitlines() if line.split()} >= set(STRATEGIES)
    assert json.loads(told) == described()
