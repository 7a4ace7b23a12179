"""The picture of accuracy against calls, docs/images/calls-against-accuracy.svg, out of the JSON of comparisons.

`python -m benchmarks.calls_picture digits.json glyphs.json --into picture.svg` draws it: a panel for each file, the
curve of the reference with a band of one standard deviation, and every student of `auto`. `make docs` does so with
files in docs/results/fewer-calls.
"""

import argparse
import json
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.tables_page import Facts
from distill_worker.experiments.report.charts.chart import INK, MUTED, PLAIN, SERIES, Chart, Stroke, drawn
from distill_worker.experiments.report.charts.document import document_svg
from distill_worker.experiments.results.accuracies import accuracies_of, methods_of
from distill_worker.experiments.results.paired_tests import mean_and_deviation

TITLES: Final = {"digits": "8x8 digits", "fashion-mnist": "Fashion-MNIST", "glyphs": "96 characters"}
"""The names of the data, by the names of the files."""
_AUTOMATIC: Final = {
    "auto, queried": "auto, on the bought samples alone",
    "auto": "auto, also on the images not bought",
}
"""The rows that are drawn beside the reference, with their names in the legend."""
_OFFSET: Final = 1.07
"""By which the places of two rows at one n differ, so that their dots do not hide each other."""


def main() -> None:
    """Draw the picture into a file."""
    parser = argparse.ArgumentParser(description="Draw accuracy against calls, out of the JSON of comparisons.")
    parser.add_argument("results", nargs="+", type=Path, help="what distill-worker compare --json printed")
    parser.add_argument("--into", type=Path, required=True, metavar="SVG", help="the file to write")
    arguments = parser.parse_args()
    comparisons = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in arguments.results}
    arguments.into.write_text(document_svg(picture(comparisons)), encoding="utf-8")


def picture(comparisons: Mapping[str, Facts]) -> Chart:
    """A panel for each comparison, by its name. Raises `SystemExit` if one has no reference or no row of `auto`."""
    for name, facts in comparisons.items():
        if facts["reference"] is None or not set(_AUTOMATIC) & set(methods_of(facts)):
            raise SystemExit(f"{name}: expected a reference in [compare] and a row {' or '.join(_AUTOMATIC)}")

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(comparisons), squeeze=False)[0]
        for axes, (name, facts) in zip(panels, comparisons.items(), strict=True):
            _panel(axes, TITLES.get(name, name), facts)
        panels[0].set_ylabel("test accuracy, %")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, handlelength=3)

    title = f"Test accuracy against calls: {', '.join(TITLES.get(name, name) for name in comparisons)}"
    return drawn("calls-against-accuracy", title, "", draw, size=(4.2 * len(comparisons), 3.9))


def _panel(axes: Axes, title: str, facts: Facts) -> None:
    reference, seeds = facts["reference"], facts["seeds"]
    _curve(axes, facts, reference, SERIES[0])
    rows = [row for row in _AUTOMATIC if row in methods_of(facts)]
    for place, row in enumerate(rows):
        _seeds(axes, facts, row, SERIES[1 + place], _OFFSET ** (2 * place - len(rows) + 1))
    teacher = 100 * facts["teacher"]["accuracy"]
    axes.axhline(teacher, color=MUTED, linewidth=0.9, linestyle=(0, (6, 3)))
    axes.annotate(
        f"teacher {teacher:.1f}",
        (1, teacher),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        color=INK,
        fontsize=8,
    )
    ticks = sorted({*facts["n"], *facts["reference_n"]})
    axes.set(xscale="log", xlabel="calls", title=f"{title}, {seeds} seeds")
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(PLAIN)
    axes.minorticks_off()
    axes.margins(x=0.08, y=0.09)
    axes.grid(visible=True, axis="y")


def _curve(axes: Axes, facts: Facts, row: str, stroke: Stroke) -> None:
    """The means of a row at all its sizes, a band of one deviation, and a dot for each seed."""
    sizes = sorted({result["n"] for result in facts["results"] if result["method"] == row})
    values = [accuracies_of(facts, row, n) for n in sizes]
    means, deviations = zip(*map(mean_and_deviation, values), strict=True)
    low, high = (
        [mean + sign * (deviation or 0.0) for mean, deviation in zip(means, deviations, strict=True)]
        for sign in (-1, 1)
    )
    axes.fill_between(sizes, low, high, color=stroke.color, alpha=0.16, linewidth=0)
    axes.plot(sizes, means, color=stroke.color, linestyle=stroke.line, label=f"{row}, random samples")
    places = list(chain.from_iterable([n] * len(own) for n, own in zip(sizes, values, strict=True)))
    axes.plot(places, list(chain(*values)), linestyle="", marker=stroke.marker, markersize=2.4, color=stroke.color)


def _seeds(axes: Axes, facts: Facts, row: str, stroke: Stroke, shift: float) -> None:
    """A mark for each student of a row, and a bar at their mean."""
    values = {n: own for n in facts["n"] if (own := accuracies_of(facts, row, n))}
    places = list(chain.from_iterable([n * shift] * len(own) for n, own in values.items()))
    axes.plot(
        places,
        list(chain(*values.values())),
        color=stroke.color,
        linestyle="",
        marker=stroke.marker,
        markersize=4,
        alpha=0.7,
        label=_AUTOMATIC[row],
    )
    means = [mean_and_deviation(own)[0] for own in values.values()]
    axes.plot([n * shift for n in values], means, color=stroke.color, linestyle="", marker="_", markersize=13)


if __name__ == "__main__":
    main()
