"""The charts of a comparison: accuracy against calls, by row at each size, and the time."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distill_worker.experiments.report.charts.chart import MUTED, PLAIN, SERIES, Chart, Stroke, drawn, shortened
from distill_worker.experiments.report.wording import NO_BREAK, points
from distill_worker.experiments.results.accuracies import accuracies_of, methods_of, results_of, samples_paid
from distill_worker.experiments.results.paired_tests import mean_and_deviation

_WIDE: Final = 4
"""The ratio of sizes from which their axis is logarithmic."""
_MOST_COLOURED: Final = 6
"""Rows whose lines can be told apart."""
_MOST_SIZES: Final = 4
"""Sizes that have a chart of their own."""
_SHIFT: Final = 0.05
"""How far the dots of a row lie beside each other."""


def comparison_charts(facts: Mapping[str, Any], finding: str) -> Iterator[Chart]:
    """Accuracy against calls, accuracy by row at each n if there are few, and the time of a student."""
    if len({result["n"] for result in facts["results"]}) > 1:
        yield _against_calls(facts, finding)
    for n in facts["n"][:_MOST_SIZES]:
        values = {row: own for row in methods_of(facts) if (own := accuracies_of(facts, row, n))}
        best, mean = max(((row, mean_and_deviation(own)[0]) for row, own in values.items()), key=lambda one: one[1])
        title = f"Test accuracy at n{NO_BREAK}={NO_BREAK}{n:,}"
        yield _by_row(f"accuracy-{n}", title, "test accuracy, %", values, f"{best} is the highest: {points(mean)}.")
    largest = max(facts["n"])  # sizes beyond it are of the reference alone
    times = {
        row: [result["seconds"] for result in results]
        for row in methods_of(facts)
        if (results := results_of(facts, row, largest))
    }
    title = f"Time of a student at n{NO_BREAK}={NO_BREAK}{largest:,}"
    yield _by_row("seconds", title, "wall time, s", times, _slowest(times))


def _sizes_of(facts: Mapping[str, Any], row: str) -> list[int]:
    return sorted({result["n"] for result in facts["results"] if result["method"] == row})


def _slowest(times: Mapping[str, Sequence[float]]) -> str:
    means = {method: mean_and_deviation(seconds)[0] for method, seconds in times.items()}
    slowest = max(means, key=means.__getitem__)
    return f"A student of {slowest} takes the longest: {means[slowest]:.1f} s."


def _against_calls(facts: Mapping[str, Any], finding: str) -> Chart:
    rows = methods_of(facts)
    prominent = _prominent(facts, rows)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for row, stroke in zip(prominent, SERIES, strict=False):
            _line(axes, facts, row, stroke)
        for row in rows:
            if row not in prominent:
                _faint_line(axes, facts, row)
        calls = [samples_paid(facts, row, n) for row in rows for n in _sizes_of(facts, row)]
        if max(calls) > _WIDE * min(calls) > 0:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(PLAIN)
            axes.xaxis.set_minor_formatter("")
            axes.set_xticks(sorted(facts["n"]))
        axes.set(xlabel="calls", ylabel="test accuracy, %")
        axes.grid(visible=True, axis="y")
        figure.legend(loc="outside lower center", ncols=2, handlelength=3.5)

    return drawn("accuracy", "Test accuracy against calls", finding, draw, size=(5.2, 4.2))


def _prominent(facts: Mapping[str, Any], rows: Sequence[str]) -> list[str]:
    """The rows that are drawn in colour: all, or the baseline, the reference and the best."""
    largest = max(facts["n"])
    means = {row: mean_and_deviation(own)[0] for row in rows if (own := accuracies_of(facts, row, largest))}
    ranked = [facts["baseline"], facts["reference"], *sorted(means, key=means.__getitem__, reverse=True)]
    first = list(dict.fromkeys(row for row in ranked if row is not None))[:_MOST_COLOURED]
    return [row for row in rows if row in first]


def _faint_line(axes: Axes, facts: Mapping[str, Any], row: str) -> None:
    sizes = _sizes_of(facts, row)
    means = [mean_and_deviation(accuracies_of(facts, row, n))[0] for n in sizes]
    calls = [samples_paid(facts, row, n) for n in sizes]
    label = None if "others" in axes.get_legend_handles_labels()[1] else "others"
    axes.plot(calls, means, color=MUTED, linewidth=0.7, alpha=0.6, zorder=1, label=label)


def _line(axes: Axes, facts: Mapping[str, Any], method: str, stroke: Stroke) -> None:
    """Draw the means of a method, a band of one deviation, and a dot for each seed."""
    sizes = _sizes_of(facts, method)
    calls = [samples_paid(facts, method, n) for n in sizes]
    values = [accuracies_of(facts, method, n) for n in sizes]
    means, deviations = zip(*map(mean_and_deviation, values), strict=True)
    low, high = (
        [mean + sign * (deviation or 0.0) for mean, deviation in zip(means, deviations, strict=True)]
        for sign in (-1, 1)
    )
    axes.fill_between(calls, low, high, color=stroke.color, alpha=0.13, linewidth=0)
    label = shortened(method, 40)
    axes.plot(calls, means, color=stroke.color, linestyle=stroke.line, marker=stroke.marker, label=label)
    for place, own in zip(calls, values, strict=True):
        axes.plot([place] * len(own), own, linestyle="", marker="o", markersize=2.2, alpha=0.6, color=stroke.color)


def _by_row(name: str, title: str, unit: str, values: Mapping[str, Sequence[float]], finding: str) -> Chart:
    """A row for each method: a dot for each seed, and the mean with one deviation."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for row, own in enumerate(values.values()):
            mean, deviation = mean_and_deviation(own)
            axes.errorbar(
                mean, row, xerr=deviation, color=SERIES[0].color, marker="D", capsize=3, elinewidth=1.2, zorder=3
            )
            places = [row + 0.22 + _SHIFT * (index % 3 - 1) for index in range(len(own))]
            axes.plot(own, places, linestyle="", marker="o", markersize=2.8, alpha=0.75, color=SERIES[1].color)
        axes.set_yticks(range(len(values)), [shortened(method) for method in values])
        axes.set(xlabel=unit, ylim=(len(values) - 0.4, -0.6))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=True, axis="x")

    return drawn(name, title, finding, draw, size=(4.6, min(8.0, 0.9 + 0.42 * len(values))))
