"""The picture of accuracy against calls shows the kept comparisons, and every student of `auto`."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from benchmarks.calls_picture import picture
from distill_worker.experiments.report.charts.document import document_svg

DOCS: Final = Path(__file__).parents[2] / "docs"


def _kept(name: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((DOCS / "results" / "fewer-calls" / f"{name}.json").read_text(encoding="utf-8"))
    return facts


def test_picture_is_that_of_the_kept_comparisons() -> None:
    """If this fails, run `make docs`."""
    drawn = document_svg(picture({name: _kept(name) for name in ("fashion-mnist", "glyphs")}))
    assert (DOCS / "images" / "calls-against-accuracy.svg").read_text(encoding="utf-8") == drawn


def test_picture_shows_every_student() -> None:
    """Each student is a mark: one more student is one more mark."""
    facts = _kept("digits")
    fewer = {**facts, "results": [one for one in facts["results"] if (one["method"], one["seed"]) != ("auto", 0)]}
    marks = [document_svg(picture({"digits": one})).count("<use ") for one in (facts, fewer)]
    assert marks[0] - marks[1] == len(facts["n"])


def test_comparison_without_a_reference_is_an_error() -> None:
    with pytest.raises(SystemExit, match="digits: expected a reference"):
        picture({"digits": {**_kept("digits"), "reference": None}})
