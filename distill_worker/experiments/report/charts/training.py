"""The curves of a training, from the lines of its metrics.jsonl."""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, Final

from matplotlib.figure import Figure

from distill_worker.experiments.report.charts.chart import PLAIN, RULE, SERIES, Chart, drawn
from distill_worker.experiments.report.wording import percent

Metrics = Sequence[Mapping[str, Any]]
_NO_TERMS: Final = ("step", "learning_rate", "validation_accuracy")
_TOTAL: Final = "loss"


def training_charts(metrics: Metrics) -> Iterator[Chart]:
    """The loss with its terms, the validation accuracy if it was measured, and the learning rate."""
    if _points(metrics, _TOTAL):
        yield _losses(metrics)
    if _points(metrics, "validation_accuracy"):
        yield _validation(metrics)
    if _points(metrics, "learning_rate"):
        yield _rates(metrics)


def _points(metrics: Metrics, name: str) -> list[tuple[int, float]]:
    """The steps and the finite values of one metric."""
    return [(line["step"], line[name]) for line in metrics if line.get(name) is not None and isfinite(line[name])]


def _losses(metrics: Metrics) -> Chart:
    names = [name for name in dict.fromkeys(name for line in metrics for name in line) if name not in _NO_TERMS]
    terms = {name: _points(metrics, name) for name in names}
    if len(terms) == 2:  # the total and its only term are the same line
        terms = {_TOTAL: terms[_TOTAL]}
    (_, first), (last_step, last) = terms[_TOTAL][0], terms[_TOTAL][-1]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for (name, points), stroke in zip(terms.items(), SERIES * len(terms), strict=False):
            if points:
                axes.plot(*zip(*points, strict=True), color=stroke.color, linestyle=stroke.line, label=name)
        if all(value > 0 for _, value in terms[_TOTAL]):
            axes.set_yscale("log", nonpositive="mask")
            axes.yaxis.set_major_formatter(PLAIN)
            axes.yaxis.set_minor_formatter("")
        axes.set(xlabel="step", ylabel="loss")
        axes.grid(visible=True, axis="y")
        if len(terms) > 1:
            axes.legend()

    return drawn("loss", "Loss", f"The loss goes from {first:.3g} to {last:.3g} in {last_step:,} steps.", draw)


def _validation(metrics: Metrics) -> Chart:
    points = _points(metrics, "validation_accuracy")
    best_step, best = max(points, key=lambda point: point[1])

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        stroke = SERIES[2]
        steps, values = zip(*points, strict=True)
        axes.plot(steps, [100 * value for value in values], color=stroke.color, marker=stroke.marker, markersize=2.5)
        axes.axvline(best_step, color=RULE, zorder=0)
        axes.set(xlabel="step", ylabel="validation accuracy, %")
        axes.grid(visible=True, axis="y")

    last = points[-1][1]
    finding = f"The best validation accuracy is {percent(best)}, at step {best_step:,}; the last is {percent(last)}."
    return drawn("validation", "Validation accuracy", finding, draw)


def _rates(metrics: Metrics) -> Chart:
    points = _points(metrics, "learning_rate")
    highest = max(rate for _, rate in points)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot(*zip(*points, strict=True), color=SERIES[1].color, linestyle="-")
        axes.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
        axes.grid(visible=True, axis="y")

    finding = f"The learning rate is at most {highest:.3g}, and {points[-1][1]:.2g} at the end."
    return drawn("learning-rate", "Learning rate", finding, draw)
