"""The facts of a comparison as rows of a table, and as Markdown."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from distill_worker.experiments.results.paired_tests import Paired, against_baseline, mean_and_deviation

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
        cells = [part for n in facts["n"] for part in _cells(_results(facts, method, n))]
        rows.append((method, *(track for _ in track_column), *cells))
    return heading, rows


def _cells(results: Sequence[Mapping[str, Any]]) -> tuple[str, str, str]:
    """Accuracy, calls and seconds of one method at one n."""
    mean, deviation = mean_and_deviation([100 * result["accuracy"] for result in results])
    calls = sorted(result["calls"] for result in results)
    return (
        f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}",
        "-".join(str(number) for number in dict.fromkeys((calls[0], calls[-1]))),
        f"{statistics.mean(result['seconds'] for result in results):.1f}",
    )


def paired_rows(facts: Mapping[str, Any]) -> tuple[tuple[str, ...], Rows]:
    """The heading, and one row per method: for each n the points above the baseline, seeds won, p, and Holm's p."""
    baseline = facts["baseline"]
    heading = (f"against {baseline}", *(f"n = {n}: points (seeds won) p, Holm's p" for n in facts["n"]))
    tests = {n: paired_tests(facts, n) for n in facts["n"]}
    rows: Rows = []
    for method in _methods(facts):
        if method != baseline:
            rows.append((method, *(_test_cell(tests[n].get(method)) for n in facts["n"])))
    return heading, rows


def paired_tests(facts: Mapping[str, Any], n: int) -> dict[str, Paired]:
    """The paired tests of every method against the baseline at one n, in points of accuracy."""
    return against_baseline({method: _accuracies(facts, method, n) for method in _methods(facts)}, facts["baseline"])


def markdown(heading: tuple[str, ...], rows: Rows) -> str:
    """A Markdown table."""
    lines = [heading, tuple("---" for _ in heading), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _methods(facts: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(result["method"] for result in facts["results"]))


def _results(facts: Mapping[str, Any], method: str, n: int) -> list[Mapping[str, Any]]:
    """The results of a method at one n, by seed."""
    chosen = [result for result in facts["results"] if (result["method"], result["n"]) == (method, n)]
    return sorted(chosen, key=lambda result: result["seed"])


def _accuracies(facts: Mapping[str, Any], method: str, n: int) -> list[float]:
    """The accuracies of a method at one n, in percent, by seed."""
    return [100 * result["accuracy"] for result in _results(facts, method, n)]


def _test_cell(test: Paired | None) -> str:
    if test is None:
        return "-"
    probabilities = f"{_probability(test.p_value)}, {_probability(test.holm_p_value)}"
    return f"{test.difference:+.2f} ({test.wins}/{test.seeds}) {probabilities}"


def _probability(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"
