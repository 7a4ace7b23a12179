"""The registry of checks: its table in the docs, and how its checks run."""

from pathlib import Path

from distill_worker.runs.preflight import CHECKS, table

PAGE = Path(__file__).parents[4] / "docs" / "checks.md"


def test_page_has_the_table_of_the_registry() -> None:
    assert table() in PAGE.read_text(), "out of date: run `make docs`"


def test_names_differ() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
