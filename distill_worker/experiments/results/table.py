"""The facts of a comparison as rows of a table, and as Markdown."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from distill_worker.experiments.results.accuracies import Result, accuracies_of, methods_of, results_of
from distill_worker.experiments.results.paired_tests import Paired, against_baseline, mean_and_deviation

PAIRED_HEADING: Final = "points [95 % interval] (seeds won) p, Holm's p over all rows at this n"
"""What `paired_cell` prints of `paired_tests`."""
_ENOUGH_SEEDS: Final = 10
"""Of a bootstrap over the seeds. With fewer, its interval covers less than it states."""

Rows = list[tuple[str, ...]]


def accuracy_rows(facts: Mapping[str, Any]) -> tuple[tuple[str, ...], Rows]:
    """The heading, and one row per method: for each n mean and deviation of the test accuracy in percent, calls, time.

    The time is the mean of a student's wall time in seconds. The track is a column if the rows differ in it.
    """
    tracks = {result["method"]: result["track"] for result in facts["results"]}
    track_column = ("track",) if len(set(tracks.values())) > 1 else ()
    heading = ("method", *track_column, *(part for n in facts["n"] for part in (f"n = {n}", "calls", "seconds")))
    rows: Rows = []
    for method, track in tracks.items():
        cells = [part for n in facts["n"] for part in _cells(results_of(facts, method, n))]
        rows.append((method, *(track for _ in track_column), *cells))
    return heading, rows


def _cells(results: Sequence[Result]) -> tuple[str, str, str]:
    """Accuracy, calls and seconds of one method at one n."""
    calls = sorted(result["calls"] for result in results)
    return (
        accuracy_cell([100 * result["accuracy"] for result in results]),
        "-".join(str(number) for number in dict.fromkeys((calls[0], calls[-1]))),
        f"{statistics.mean(result['seconds'] for result in results):.1f}",
    )


def paired_rows(facts: Mapping[str, Any]) -> tuple[tuple[str, ...], Rows]:
    """The heading, and one row per method: for each n the points above the baseline, with their interval, and tests."""
    baseline = facts["baseline"]
    heading = (f"against {baseline}", *(f"n = {n}: {PAIRED_HEADING}" for n in facts["n"]))
    tests = {n: paired_tests(facts, n) for n in facts["n"]}
    rows: Rows = []
    for method in methods_of(facts):
        if method != baseline:
            rows.append((method, *(paired_cell(tests[n].get(method)) for n in facts["n"])))
    return heading, rows


def paired_tests(facts: Mapping[str, Any], n: int) -> dict[str, Paired]:
    """The paired tests of every method against the baseline at one n, in points of accuracy."""
    return against_baseline(
        {method: accuracies_of(facts, method, n) for method in methods_of(facts)}, facts["baseline"]
    )


def curve_rows(facts: Mapping[str, Any]) -> tuple[tuple[str, ...], Rows]:
    """The heading, and one row: mean and deviation of the reference's accuracy in percent at each size of its curve."""
    reference, sizes = facts["reference"], facts["reference_n"]
    cells = [accuracy_cell(accuracies_of(facts, reference, n)) for n in sizes]
    return ("reference", *(f"n = {n}" for n in sizes)), [(reference, *cells)]


def equivalent_heading(seeds: int) -> str:
    """What `equivalent_cell` prints: one seed has no interval, and that of a few is no 95 % interval."""
    interval = "95 % interval" if seeds >= _ENOUGH_SEEDS else "bootstrap interval, too narrow with so few seeds"
    return f"{f' [{interval}]' if seeds > 1 else ''}, factor"


def equivalent_rows(facts: Mapping[str, Any]) -> tuple[tuple[str, ...], Rows]:
    """The heading, and one row per method: for each n the calls that the reference needs, the interval, the factor."""
    columns = (f"n = {n}: calls{equivalent_heading(facts['seeds'])}" for n in facts["n"])
    cells = {(one["method"], one["n"]): equivalent_cell(one) for one in facts["equivalent_calls"]}
    others = [method for method in methods_of(facts) if method != facts["reference"]]
    return (
        (f"equivalent calls of {facts['reference']}", *columns),
        [(method, *(cells[method, n] for n in facts["n"])) for method in others],
    )


def markdown(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def accuracy_cell(percents: Sequence[float]) -> str:
    """Mean and standard deviation of accuracies in percent, one for each seed."""
    mean, deviation = mean_and_deviation(percents)
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"


def equivalent_cell(equivalent: Mapping[str, Any]) -> str:
    """The calls that the reference needs, their interval, and their ratio to what was paid; see `equivalents`."""
    calls, paid = equivalent["calls"], equivalent["paid"]
    ends = [_calls(end) for end in (equivalent["low"], equivalent["high"]) if end is not None]
    interval = f" [{', '.join(ends)}]" if ends else ""
    return f"{_calls(calls)}{interval}, {_sign(calls)}{calls['value'] / paid:.1f}x"


def _calls(calls: Mapping[str, Any]) -> str:
    return f"{_sign(calls)}{calls['value']:.0f}"


def _sign(calls: Mapping[str, Any]) -> str:
    return "" if calls["relation"] == "=" else f"{calls['relation']} "


def paired_cell(test: Paired | None) -> str:
    """Points above the baseline, their interval, seeds won, p, Holm's p; without a test, as for one seed, a dash."""
    if test is None:
        return "-"
    probabilities = f"{_probability(test.p_value)}, {_probability(test.holm_p_value)}"
    interval = f"[{test.low:+.2f}, {test.high:+.2f}]" if test.has_interval else "[no interval]"
    return f"{test.difference:+.2f} {interval} ({test.wins}/{test.seeds}) {probabilities}"


def _probability(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"
