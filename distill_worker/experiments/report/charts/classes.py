"""Charts by class: the confusion matrix, the accuracies, and the correlations between the classes' logits."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from distill_worker.experiments.report.charts.chart import (
    INK,
    MUTED,
    NEGATIVE,
    ON_CELL,
    POSITIVE,
    RULE,
    SERIES,
    Chart,
    drawn,
    shortened,
)
from distill_worker.experiments.report.wording import percent

_MOST_NAMED: Final = 30
"""Classes whose names fit beside an axis."""
_MOST_WRITTEN: Final = 12
"""Classes whose cells have room for a number."""
_DARK: Final = 0.55
"""The opacity from which text on a cell is light."""

Floats = NDArray[np.float64]


def class_charts(analysis: Mapping[str, Any]) -> Iterator[Chart]:
    """What the student gets wrong, by class."""
    if "confusion" in analysis:
        yield _confusion(np.array(analysis["confusion"], np.float64), analysis["classes"])
    if "class_accuracy" in analysis:
        yield _accuracies(analysis["class_accuracy"], analysis["classes"])


def correlation_charts(analysis: Mapping[str, Any]) -> Iterator[Chart]:
    """The correlations between classes, in the student's logits and in the teacher's, beside each other."""
    correlation = analysis.get("class_correlation")
    if correlation:
        maps = {whose: np.array(correlation[whose], np.float64) for whose in ("student", "teacher")}

        def draw(figure: Figure) -> None:
            places = figure.subplots(1, 2)
            for axes, (whose, values) in zip(places, maps.items(), strict=True):
                _cells(axes, np.nan_to_num(values), analysis["classes"], written=None)
                axes.set_title(whose, fontsize=9, color=INK)

        agreement = correlation["agreement"]
        finding = (
            "The correlations between the classes, of the student and of the teacher."
            if agreement is None
            else f"The student's correlations agree with the teacher's by {agreement:.2f}, where 1 is the most."
        )
        yield drawn("class-correlation", "Correlation between classes", finding, draw, size=(6.0, 3.2))


def _confusion(counts: Floats, names: Sequence[str]) -> Chart:
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    shown = np.where(np.eye(len(shares), dtype=bool), shares, -np.sqrt(shares))  # so that rare errors are visible

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        _cells(axes, shown, names, written=counts)
        axes.set(xlabel="the student's class", ylabel="label")

    return drawn("confusion", "Labels and predictions", _most_confused(counts, names), draw, size=(4.6, 4.4))


def _most_confused(counts: Floats, names: Sequence[str]) -> str:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    if not wrong.any():
        return "No test image is in another class than its label."
    label, guess = divmod(int(wrong.argmax()), len(names))
    times = int(wrong[label, guess])
    return (
        f"The most frequent error takes {names[label]} for {names[guess]}: {times} of {int(counts[label].sum())} "
        f"test images of {names[label]}."
    )


def _accuracies(accuracies: Sequence[float | None], names: Sequence[str]) -> Chart:
    measured = [(value, name) for value, name in zip(accuracies, names, strict=True) if value is not None]
    ranked = sorted(measured, key=lambda one: (one[0], one[1]))
    (lowest, worst), (highest, best) = ranked[0], ranked[-1]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        values = [100 * value for value, _ in ranked]
        axes.hlines(range(len(values)), 0, values, color=RULE, linewidth=1)
        axes.plot(values, range(len(values)), linestyle="", marker="o", color=SERIES[0].color)
        axes.set(xlabel="test accuracy, %", xlim=(max(0.0, values[0] - 10), 101))
        if len(ranked) <= _MOST_NAMED:
            axes.set_yticks(range(len(ranked)), [shortened(name) for _, name in ranked])
        else:
            axes.set(ylabel="classes, from the worst to the best", yticks=[])
        axes.tick_params(axis="y", length=0)

    finding = f"The student is best at {best} ({percent(highest)}) and worst at {worst} ({percent(lowest)})."
    height = min(4.4, max(2.4, 0.26 * len(ranked) + 0.8))
    return drawn("class-accuracy", "Accuracy by class", finding, draw, size=(4.6, height))


def _cells(axes: Axes, values: Floats, names: Sequence[str], *, written: Floats | None) -> None:
    """A matrix whose cells have the opacity of their value, -1 to 1; if they are few, with the `written` numbers."""
    colors = np.empty((*values.shape, 4), np.uint8)
    colors[..., :3] = np.where((values < 0)[..., None], NEGATIVE, POSITIVE)
    colors[..., 3] = (255 * np.abs(values).clip(0, 1)).round()
    axes.imshow(colors, interpolation="none")
    if len(names) <= _MOST_NAMED:
        labels = [shortened(name, 14) for name in names]
        is_long = max(map(len, labels)) > 2
        slanted: dict[str, Any] = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if is_long else {}
        axes.set_xticks(range(len(names)), labels, **slanted)
        axes.set_yticks(range(len(names)), labels)
    axes.tick_params(length=0, labelsize=8 if len(names) <= _MOST_WRITTEN else 6)
    axes.spines[:].set(visible=True, color=MUTED)
    if written is not None and len(names) <= _MOST_WRITTEN:
        for (row, column), number in np.ndenumerate(written):
            if number:
                color = ON_CELL if abs(values[row, column]) > _DARK else INK
                axes.text(column, row, f"{number:.0f}", ha="center", va="center", fontsize=8, color=color)
