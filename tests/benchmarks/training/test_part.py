"""Parts are measured one after another, whether or not an earlier one fails."""

from collections.abc import Iterator

import pytest

from benchmarks.figures import Figure
from benchmarks.training.part import Part, measure_each, ratio


def _fails(_rounds: int) -> Iterator[Figure]:
    yield ratio("first", [1.0])
    raise RuntimeError("planted")


def _works(rounds: int) -> Iterator[Figure]:
    yield ratio("only", [2.0] * rounds)


PARTS = [Part(name, "", seconds=1, rounds=3, figures=figures) for name, figures in (("a", _fails), ("b", _works))]


def test_part_that_fails_takes_no_figure_of_another_along(capsys: pytest.CaptureFixture[str]) -> None:
    """Its own figures are dropped, so that no table mixes two runs."""
    taken: list[Figure] = []
    assert measure_each(PARTS, None, taken.append) == ["a"]
    assert [(figure["name"], figure["runs"]) for figure in taken] == [("b_only", 3)]
    assert "planted" in capsys.readouterr().err


def test_rounds_that_are_given_replace_those_of_the_part() -> None:
    taken: list[Figure] = []
    assert measure_each(PARTS[1:], 5, taken.append) == []
    assert taken[0]["runs"] == 5
