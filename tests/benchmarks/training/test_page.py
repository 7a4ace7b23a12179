"""Tables between their lines."""

import pytest

from benchmarks.training.page import with_tables
from benchmarks.training.part import Part, ratio

PART = Part("step", "does something", seconds=1, rounds=1, figures=lambda _rounds: iter([ratio("faster", [2.0])]))
PAGE = "Before\n<!-- figures: step -->\nan old table\n<!-- end -->\nAfter\n"


def test_table_is_replaced_and_the_rest_stays() -> None:
    recorded = {figure["name"]: figure for figure in PART.measured(1)}
    written = with_tables(PAGE, [PART], recorded)
    assert written.startswith("Before\n<!-- figures: step -->\n```\n")
    assert written.endswith("\n```\n<!-- end -->\nAfter\n")
    assert "step_faster" in written
    assert "an old table" not in written
    assert with_tables(written, [PART], recorded) == written


def test_part_without_figures_keeps_its_table() -> None:
    assert with_tables(PAGE, [PART], {}) == PAGE


def test_page_without_the_lines_is_an_error() -> None:
    recorded = {figure["name"]: figure for figure in PART.measured(1)}
    with pytest.raises(ValueError, match="expected one pair of the lines"):
        with_tables("Before\nAfter\n", [PART], recorded)
