"""The charts of a comparison: accuracy against calls, or by row if there is one size."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distill_worker.experiments.report.charts.chart import PLAIN, SERIES, Chart, Stroke, drawn, shortened
from distill_worker.experiments.results.accuracies import accuracies_of, methods_of, samples_paid
from distill_worker.experiments.results.paired_tests import mean_and_deviation

_WIDE: Final = 4
"""The ratio of sizes from which their axis is logarithmic."""
_SHIFT: Final = 0.05
"""How far the dots of a row lie beside each other."""


def comparison_charts(facts: Mapping[str, Any], finding: str) -> Iterator[Chart]:
    """Accuracy against calls, and the time of a student."""
    sizes = {size for method in methods_of(facts) for size in _sizes_of(facts, method)}
    if len(sizes) > 1:
        yield _against_calls(facts, finding)
    else:
        yield _by_row("accuracy", "Test accuracy", "test accuracy, %", _accuracies(facts), finding)
    times = {
        method: [result["seconds"] for result in facts["results"] if result["method"] == method]
        for method in methods_of(facts)
    }
    yield _by_row("seconds", "Time of a student", "wall time, s", times, _slowest(times))


def _sizes_of(facts: Mapping[str, Any], method: str) -> list[int]:
    return sorted({result["n"] for result in facts["results"] if result["method"] == method})


def _accuracies(facts: Mapping[str, Any]) -> dict[str, list[float]]:
    return {
        method: [100 * result["accuracy"] for result in facts["results"] if result["method"] == method]
        for method in methods_of(facts)
    }


def _slowest(times: Mapping[str, Sequence[float]]) -> str:
    means = {method: mean_and_deviation(seconds)[0] for method, seconds in times.items()}
    slowest = max(means, key=means.__getitem__)
    return f"A student of {slowest} takes the longest: {means[slowest]:.1f} s."


def _against_calls(facts: Mapping[str, Any], finding: str) -> Chart:
    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        calls: set[float] = set()
        for method, stroke in zip(methods_of(facts), SERIES * len(facts["results"]), strict=False):
            calls |= _line(axes, facts, method, stroke)
        if max(calls) > _WIDE * min(calls) > 0:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(PLAIN)
            axes.xaxis.set_minor_formatter("")
            axes.set_xticks(sorted(facts["n"]))
        axes.set(xlabel="calls", ylabel="test accuracy, %")
        axes.grid(visible=True, axis="y")
        figure.legend(loc="outside lower center", ncols=2, handlelength=3.5)

    return drawn("accuracy", "Test accuracy against calls", finding, draw, size=(6.4, 4.6))


def _line(axes: Axes, facts: Mapping[str, Any], method: str, stroke: Stroke) -> set[float]:
    """Draw the means of a method, a band of one deviation, and a dot for each seed; the calls."""
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
    return set(calls)


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
