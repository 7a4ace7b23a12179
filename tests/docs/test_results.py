"""The tables of docs/choosing.md, and the picture of accuracy against calls, are read from the kept comparisons."""

import json
from typing import Any

import pytest

from benchmarks.calls_picture import picture
from distill_worker.experiments.report.charts.document import document_svg
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


def test_picture_is_that_of_the_kept_comparisons() -> None:
    """If this fails, run `make docs`."""
    drawn = document_svg(picture({name: KEPT[name] for name in ("fashion-mnist", "glyphs")}))
    assert (DOCS / "images" / "calls-against-accuracy.svg").read_text(encoding="utf-8") == drawn


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


def test_picture_shows_every_student() -> None:
    """Each student is a mark: one more student is one more mark."""
    facts = json.loads(json.dumps(KEPT["digits"]))
    fewer = {**facts, "results": [one for one in facts["results"] if (one["method"], one["seed"]) != ("auto", 0)]}
    marks = [document_svg(picture({"digits": one})).count("<use ") for one in (facts, fewer)]
    assert marks[0] - marks[1] == len(facts["n"])


def test_comparison_without_a_reference_is_an_error() -> None:
    with pytest.raises(SystemExit, match="digits: expected a reference"):
        picture({"digits": {**KEPT["digits"], "reference": None}})
