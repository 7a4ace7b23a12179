"""The tables of docs/choosing.md and README.md are read from the kept comparisons."""

from typing import Any

import pytest

from tests.docs.scripts import DOCS, script

WRITER = script("write_results")
KEPT = WRITER.read_comparisons()


@pytest.mark.parametrize("page", [place for place in WRITER.PAGES if place.exists()], ids=lambda place: place.name)
def test_tables_are_those_of_the_kept_comparisons(page: Any) -> None:
    """If this fails, run `make docs`."""
    text = page.read_text(encoding="utf-8")
    assert WRITER.with_tables(text, KEPT) == text


def test_choosing_has_all_tables() -> None:
    assert (DOCS / "choosing.md").read_text(encoding="utf-8").count(": made by `make docs` -->") == 4


def test_table_has_mean_and_deviation_by_hand() -> None:
    rows = {"KD": [0.5, 0.7], "KD, tuned": [0.6, 0.6], "auto, queried": [0.8, 0.8], "auto": [0.9, 0.9]}
    results = [
        {"method": row, "n": 20, "seed": seed, "accuracy": value, "seconds": 2.0, "calls": 20}
        for row, values in rows.items()
        for seed, value in enumerate(values)
    ]
    facts = {"n": [20], "results": results, "teacher": {"accuracy": 0.95}}
    last = WRITER.accuracies({"digits": facts}).splitlines()[-1]
    assert last == ("| 8x8 digits | 20 | 2 | 60.00 ± 14.14 | 60.00 ± 0.00 | 80.00 ± 0.00 | 90.00 ± 0.00 | 95.00 |")
