"""Write the tables of choosing.md, auto.md and README.md from the JSON of docs/results/fewer-calls; see `make docs`.

No figure is typed in: after new comparisons, `make docs` writes the tables again. A page without the two lines of a
table stays as it is.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, Final

from distill_worker.experiments.results.accuracies import accuracies_of, methods_of, results_of
from distill_worker.experiments.results.table import accuracy_cell, equivalent_cell, markdown

ROOT: Final = Path(__file__).parent.parent
COMPARISONS: Final = ROOT / "docs" / "results" / "fewer-calls"
PAGES: Final = (ROOT / "docs" / "choosing.md", ROOT / "docs" / "auto.md", ROOT / "README.md")
_NAMES: Final = {"digits": "8x8 digits", "fashion-mnist": "Fashion-MNIST", "glyphs": "96 characters"}
_CLASSES: Final = {"digits": 10, "fashion-mnist": 10, "glyphs": 96}
_ROWS: Final = ("KD", "KD, tuned", "auto, queried", "auto")
"""The columns of the tables: rows of the comparisons."""
_FRONT: Final = {"digits": 50, "fashion-mnist": 500, "glyphs": 192}
_FRONT_ROWS: Final = ("KD", "KD, tuned", "CKD", "auto, queried", "auto")
"""The cases and the columns of the table in README.md."""
_ONLY_SAVING: Final = ("auto, queried", "auto")

Facts = Mapping[str, Any]


def with_tables(page: str, comparisons: Mapping[str, Facts]) -> str:
    """The page with the current tables, each between its two lines."""
    tables = {
        "accuracies": accuracies(comparisons),
        "front": accuracies({name: {**comparisons[name], "n": [n]} for name, n in _FRONT.items()}, _FRONT_ROWS),
        "curve": curve(comparisons),
        "seconds": seconds(comparisons),
        "equivalent": equivalent(comparisons),
    }
    for name, table in tables.items():
        begin, end = f"<!-- {name}: made by `make docs` -->\n", f"<!-- end of {name} -->"
        page = re.sub(
            f"{re.escape(begin)}.*?{re.escape(end)}",
            lambda _found, between=f"{begin}\n{table}\n\n{end}": between,  # type: ignore[misc]
            page,
            flags=re.DOTALL,
        )
    return page


def accuracies(comparisons: Mapping[str, Facts], columns: Sequence[str] = _ROWS) -> str:
    """Test accuracy by data and n: mean and standard deviation over the seeds."""
    heading = ("data", "calls", "for a class", *columns, "teacher")
    rows = [
        (
            *_case(name, n),
            *(accuracy_cell(accuracies_of(facts, row, n)) for row in columns),
            f"{100 * facts['teacher']['accuracy']:.2f}",
        )
        for name, facts, n in _cells(comparisons)
    ]
    return markdown(heading, rows)


def curve(comparisons: Mapping[str, Facts]) -> str:
    """The accuracy of the reference at each size: what more calls gave it."""
    heading = ("data", "calls: test accuracy of KD, tuned")
    rows = [
        (
            _NAMES.get(name, name),
            ", ".join(f"{n:,}: {mean(accuracies_of(facts, facts['reference'], n)):.1f}" for n in facts["reference_n"]),
        )
        for name, facts in comparisons.items()
    ]
    return markdown(heading, rows)


def seconds(comparisons: Mapping[str, Facts]) -> str:
    """The mean wall time of a student by data and n."""
    rows = [
        (*_case(name, n), *(f"{mean(one['seconds'] for one in results_of(facts, row, n)):.0f} s" for row in _ROWS))
        for name, facts, n in _cells(comparisons)
    ]
    return markdown(("data", "calls", "for a class", *_ROWS), rows)


def equivalent(comparisons: Mapping[str, Facts]) -> str:
    """How many calls the reference needs for the accuracy of `auto`."""
    rows = [
        (
            *_case(name, n),
            *(
                equivalent_cell(one)
                for row in _ONLY_SAVING
                for one in facts["equivalent_calls"]
                if (one["method"], one["n"]) == (row, n)
            ),
        )
        for name, facts, n in _cells(comparisons)
    ]
    return markdown(("data", "calls", "for a class", *_ONLY_SAVING), rows)


def _case(name: str, n: int) -> tuple[str, str, str]:
    return _NAMES.get(name, name), f"{n:,}", f"{n / _CLASSES[name]:g}"


def _cells(comparisons: Mapping[str, Facts]) -> Iterator[tuple[str, Facts, int]]:
    for name, facts in comparisons.items():
        if set(_ROWS) <= set(methods_of(facts)):
            yield from ((name, facts, n) for n in facts["n"])


def read_comparisons() -> dict[str, Facts]:
    """The kept comparisons, by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(COMPARISONS.glob("*.json"))}


if __name__ == "__main__":
    kept = read_comparisons()
    for place in PAGES:
        if place.exists():
            place.write_text(with_tables(place.read_text(encoding="utf-8"), kept), encoding="utf-8")
