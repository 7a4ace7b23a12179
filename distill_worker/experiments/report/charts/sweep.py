"""The charts of a sweep: what the values of an axis change at each n, and a chart for each point."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distill_worker.experiments.report.charts.chart import SERIES, Chart, Stroke, drawn, shortened
from distill_worker.experiments.report.charts.comparison import comparison_charts
from distill_worker.experiments.report.wording import NO_BREAK, points
from distill_worker.experiments.results.accuracies import accuracies_of, methods_of
from distill_worker.experiments.results.paired_tests import mean_and_deviation

_MOST_PANELS: Final = 6
_WIDTH: Final = 0.5
"""The part of the distance between two values in which the rows lie beside each other."""

_BESIDE: Final = 0.035
"""How far the dots of the seeds lie beside their mean."""
_LINE: Final = 56
"""Characters of the names of values that fit beside each other."""

Values = Mapping[str, Mapping[str, Sequence[float]]]
"""Accuracies in percent, one for each seed, by row and by the value of an axis."""


class _Panel(NamedTuple):
    """Students that differ in one axis, in the row and in the seed."""

    title: str
    n: int
    values: Values


def sweep_charts(facts: Mapping[str, Any]) -> Iterator[Chart]:
    """A chart for each axis of the grid, if it has two values or more at one n, and one for each point with sizes."""
    rows = facts["rows"]
    for number, axis in enumerate(facts["axes"], 1):
        if panels := _panels(rows, facts["axes"], axis):
            yield _effect(f"axis-{number}", axis, panels)
    for number, point in enumerate((point for point in facts["points"] if point["n"]), 1):
        chart = next(comparison_charts(point, _highest(point)))
        title = f"{point['title']}: {chart.title}" if point["title"] else chart.title
        yield replace(chart, name=f"point-{number}", title=title)


def _highest(point: Mapping[str, Any]) -> str:
    """The best row of a point at each n. The answer of the sweep says what is significant."""
    bests = []
    for n in point["n"]:
        means = {row: mean_and_deviation(own)[0] for row in methods_of(point) if (own := accuracies_of(point, row, n))}
        best = max(means, key=means.__getitem__)
        bests.append(f"{best} at n{NO_BREAK}={NO_BREAK}{n:,} ({points(means[best])})")
    return f"The highest: {', '.join(bests)}."


def _panels(rows: Sequence[Mapping[str, Any]], axes: Sequence[str], axis: str) -> list[_Panel]:
    """A panel for each n and combination of the other axes' values."""
    others = [name for name in axes if name != axis]
    groups: dict[tuple[Any, ...], dict[str, dict[str, list[float]]]] = {}
    for row in rows:
        values = groups.setdefault((*(row[name] for name in others), row["n"]), {})
        values.setdefault(row["method"], {}).setdefault(row[axis], []).append(100 * row["accuracy"])
    return [
        _Panel(", ".join([*map(str, place), f"n{NO_BREAK}={NO_BREAK}{n:,}"]), n, values)
        for (*place, n), values in groups.items()
        if len(_values_of(values)) > 1
    ]


def _values_of(values: Values) -> list[str]:
    return list(dict.fromkeys(value for of_row in values.values() for value in of_row))


def _effect(name: str, axis: str, panels: Sequence[_Panel]) -> Chart:
    """Accuracy by the value of an axis: a panel for each n."""
    largest = sorted(panels, key=lambda panel: panel.n, reverse=True)[:_MOST_PANELS]
    shown = [panel for panel in panels if panel in largest]
    labels = list(dict.fromkeys(value for panel in shown for value in _values_of(panel.values)))
    rows = list(dict.fromkeys(row for panel in shown for row in panel.values))
    strokes = dict(zip(rows, SERIES, strict=False))

    def draw(figure: Figure) -> None:
        all_axes = figure.subplots(len(shown), sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(all_axes, shown, strict=True):
            _draw_panel(axes, panel, labels, strokes)
        _label_values(all_axes[-1], axis, labels)
        handles, names = all_axes[-1].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=2, handlelength=3.5)

    parts = {"panels": (len(shown), len(panels)), "rows": (len(strokes), len(rows))}
    in_part = [f"{some} of {all_of} {what} are drawn." for what, (some, all_of) in parts.items() if some < all_of]
    finding = " ".join([_finding(largest[0]), *in_part])
    return drawn(name, f"Test accuracy by {axis}", finding, draw, size=(5.2, 1.7 + 1.9 * len(shown)))


def _finding(panel: _Panel) -> str:
    """With which value of the axis the best row is best, and with which it is worst."""
    means = {row: {value: mean_and_deviation(own)[0] for value, own in of.items()} for row, of in panel.values.items()}
    row, of_row = max(means.items(), key=lambda one: max(one[1].values()))
    best, worst = max(of_row, key=of_row.__getitem__), min(of_row, key=of_row.__getitem__)
    return f"{panel.title}: {row} gets {points(of_row[best])} with {best}, and {points(of_row[worst])} with {worst}."


def _draw_panel(axes: Axes, panel: _Panel, labels: Sequence[str], strokes: Mapping[str, Stroke]) -> None:
    for number, (row, stroke) in enumerate(strokes.items()):
        shift = _WIDTH * ((number + 0.5) / len(strokes) - 0.5)
        values = panel.values.get(row, {})
        _draw_row(axes, row, {labels.index(value) + shift: own for value, own in values.items()}, stroke)
    axes.set_title(shortened(panel.title, 60), loc="left", fontsize=9)
    axes.set(ylabel="accuracy, %")
    axes.grid(visible=True, axis="y")


def _draw_row(axes: Axes, row: str, values: Mapping[float, Sequence[float]], stroke: Stroke) -> None:
    """Draw the means of a row with a bar of one deviation, and a dot for each seed; `values` are by place."""
    summaries = [mean_and_deviation(own) for own in values.values()]
    axes.errorbar(
        list(values),
        [mean for mean, _ in summaries],
        yerr=[deviation or 0.0 for _, deviation in summaries],
        label=shortened(row, 40),
        color=stroke.color,
        marker=stroke.marker,
        linestyle=stroke.line,
        linewidth=0.8,
        elinewidth=1.2,
        capsize=3,
    )
    for place, own in values.items():
        places = [place + _BESIDE] * len(own)
        axes.plot(places, own, linestyle="", marker="o", markersize=2.2, alpha=0.6, color=stroke.color)


def _label_values(axes: Axes, axis: str, labels: Sequence[str]) -> None:
    is_long = max(map(len, labels)) > _LINE // len(labels)
    axes.set_xticks(
        range(len(labels)),
        [shortened(label) for label in labels],
        rotation=25 if is_long else 0,
        ha="right" if is_long else "center",
    )
    axes.set(xlabel=axis, xlim=(-0.5, len(labels) - 0.5))
