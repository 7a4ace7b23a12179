"""The tables of docs/results/fewer-calls.md and selection.md, out of the JSON of comparisons.

`python -m benchmarks.fewer_calls digits.json glyphs.json` prints them. Each file has what `distill-worker compare
--json` printed for the comparison of that name in `examples/fewer-calls/`. Comparisons without a reference have no
equivalent calls, and no means over all. `--into PAGE` puts the tables between the lines `<!-- tables -->` and
`<!-- end -->` of a page, whose other text stays. `make fewer-calls` and `make selection` do all of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean
from typing import Any, Final

from benchmarks.tables_page import Facts, print_or_insert
from distill_worker.config.stages.automatic import AUTO
from distill_worker.experiments.results.accuracies import accuracies_of, results_of
from distill_worker.experiments.results.paired_tests import Paired, against_baseline, holm
from distill_worker.experiments.results.table import (
    PAIRED_HEADING,
    accuracy_cell,
    curve_rows,
    equivalent_cell,
    equivalent_heading,
    markdown,
    paired_cell,
    paired_tests,
)

_COLUMNS: Final = ("mean ± std", "every seed", "calls", "seconds")
_PAIRED_HEADING: Final = "points [95 % interval] (seeds won) p, Holm's p over the rows of this table"
"""Of rows that have another baseline each."""


def main() -> None:
    """Print the tables, or put them into a page."""
    print_or_insert(tables_of, page_name="fewer-calls.md", title="What a student gets out of few calls")


def tables_of(comparisons: Mapping[str, Facts]) -> str:
    """The tables of all comparisons, by their names: the means over all cells, then each cell."""
    has_reference = any(facts["reference"] is not None for facts in comparisons.values())
    means = [_over_all_cells(comparisons)] if has_reference else []
    return "\n".join([*means, *(_comparison(name, facts) for name, facts in comparisons.items())])


def _over_all_cells(comparisons: Mapping[str, Facts]) -> str:
    """Points above the baseline and above the reference: means over the cells (data set and n) that a row has."""
    baseline, reference = _compared_with(comparisons)
    gains: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for facts in comparisons.values():
        for method, track in _tracks(facts).items():
            gains.setdefault((track, method), []).extend(
                (_gain(facts, method, baseline, n), _gain(facts, method, reference, n)) for n in facts["n"]
            )
    rows = [
        (track, method, str(len(cells)), *(f"{mean(points):+.2f}" for points in zip(*cells, strict=True)))
        for (track, method), cells in sorted(gains.items(), key=lambda entry: entry[0][0])
    ]
    heading = ("track", "method", "cells", f"points above {baseline}", f"points above {reference}")
    return f"## Means over all cells\n\n{markdown(heading, rows)}\n"


def _compared_with(comparisons: Mapping[str, Facts]) -> tuple[str, str]:
    """The baseline and the reference of all comparisons. Raises `SystemExit` if one lacks them or has others."""
    pairs = {name: (facts["baseline"], facts["reference"]) for name, facts in comparisons.items()}
    first, *others = set(pairs.values())
    if others or None in first:
        listed = "; ".join(f"{name}: {baseline} and {reference}" for name, (baseline, reference) in pairs.items())
        raise SystemExit(f"expected one baseline and one reference in [compare] of all comparisons, got {listed}")
    return first


def _comparison(name: str, facts: Facts) -> str:
    teacher = facts["teacher"]
    about = f"{teacher['network']} ({teacher['accuracy']:.2%})" if "network" in teacher else teacher["id"]
    tracks = dict.fromkeys(_tracks(facts).values())
    return "\n".join(
        [
            f"## {name}\n",
            f"Teacher {about}; student {facts['student']}, in {facts['precision']}; test accuracy in percent over "
            f"{facts['seeds']} seeds; seconds: mean wall time of a student.",
            *_curve(facts),
            *(_cell(name, facts, track, n) for n in facts["n"] for track in tracks),
            _automatic(name, facts),
            _choices(name, facts),
        ]
    )


def _curve(facts: Facts) -> list[str]:
    """The curve of the equivalent calls, if the comparison has one."""
    return (
        [] if facts["reference"] is None else ["\nThe curve of the equivalent calls:\n", markdown(*curve_rows(facts))]
    )


def _cell(name: str, facts: Facts, track: str, n: int) -> str:
    """The table of one track at one n."""
    tests = paired_tests(facts, n)
    reference = facts["reference"]
    equivalent = {one["method"]: equivalent_cell(one) for one in facts["equivalent_calls"] or () if one["n"] == n}
    heading = ["method", *_COLUMNS, f"against {facts['baseline']}: {PAIRED_HEADING}"]
    rows = [
        [method, *_figures(facts, method, n), paired_cell(tests.get(method))]
        for method, of_row in _tracks(facts).items()
        if of_row == track
    ]
    if reference is not None:
        heading.append(f"equivalent calls of {reference}{equivalent_heading(facts['seeds'])}")
        rows = [[*row, equivalent.get(row[0], "-")] for row in rows]
    return f"\n### {name}, n = {n}, track `{track}`\n\n{markdown(heading, rows)}\n"


def _automatic(name: str, facts: Facts) -> str:
    """Each row of `auto` against the best other row, at each n; empty without such a row.

    A row with a pool is compared with the rows without it, too: they are within its reach. Holm's correction is over
    the rows of the printed table.
    """
    tracks = _tracks(facts)
    cells: list[tuple[str, ...]] = []
    tests: list[Paired | None] = []
    for method, track in tracks.items():
        others = [
            other for other, of_row in tracks.items() if of_row in ("queried", track) and not _is_automatic(other)
        ]
        if not _is_automatic(method) or not others:
            continue
        for n in facts["n"]:
            accuracies = {row: accuracies_of(facts, row, n) for row in (method, *others)}
            best = max(others, key=lambda other: mean(accuracies[other]))
            test = against_baseline({row: accuracies[row] for row in (method, best)}, best).get(method)
            cells.append((method, f"`{track}`", str(n), best))
            tests.append(test)
    heading = ("method", "track", "n", "best other by test accuracy", _PAIRED_HEADING)
    rows = [(*row, paired_cell(test)) for row, test in zip(cells, _corrected(tests), strict=True)]
    return f"\n### {name}, auto against the best other row\n\n{markdown(heading, rows)}\n" if rows else ""


def _corrected(tests: Sequence[Paired | None]) -> list[Paired | None]:
    """The tests with Holm's correction over all of them."""
    corrected = holm({str(place): test.p_value for place, test in enumerate(tests) if test is not None})
    return [
        None if test is None else replace(test, holm_p_value=corrected[str(place)]) for place, test in enumerate(tests)
    ]


def _is_automatic(method: str) -> bool:
    return method.partition(",")[0] == AUTO


def _choices(name: str, facts: Facts) -> str:
    """The settings that `[tuning]` chose for the students of each seed; empty if no row has it."""
    rows = [
        (method, str(n), "; ".join(_settings(result["tuning"]) for result in tuned))
        for n in facts["n"]
        for method in _tracks(facts)
        if (tuned := [result for result in results_of(facts, method, n) if "tuning" in result])
    ]
    heading = ("method", "n", "chosen settings, seed by seed")
    return f"\n### {name}, settings by cross-fitting\n\n{markdown(heading, rows)}\n" if rows else ""


def _settings(chosen: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in chosen.items()) or "as configured"


def _figures(facts: Facts, method: str, n: int) -> tuple[str, str, str, str]:
    """The values of `_COLUMNS`."""
    accuracies, results = accuracies_of(facts, method, n), results_of(facts, method, n)
    return (
        accuracy_cell(accuracies),
        " ".join(f"{accuracy:.2f}" for accuracy in accuracies),
        f"{mean(result['calls'] for result in results):.0f}",
        f"{mean(result['seconds'] for result in results):.0f}",
    )


def _tracks(facts: Facts) -> dict[str, str]:
    """The track of each row."""
    return {result["method"]: result["track"] for result in facts["results"]}


def _gain(facts: Facts, method: str, other: str, n: int) -> float:
    """Points of mean accuracy above another row."""
    return mean(accuracies_of(facts, method, n)) - mean(accuracies_of(facts, other, n))


if __name__ == "__main__":
    main()
