"""Charts of what was measured on a finished student: calibration, spectra, sharpness."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from matplotlib.figure import Figure

from distill_worker.experiments.report.charts.chart import MUTED, RULE, SERIES, Chart, drawn
from distill_worker.experiments.report.wording import percent

_MOST_MARKED: Final = 32
"""Points of a line that are marked."""


def calibration_charts(analysis: Mapping[str, Any]) -> Iterator[Chart]:
    """The reliability diagram."""
    calibration = analysis.get("calibration")
    if calibration:
        yield _reliability(calibration)


def geometry_charts(analysis: Mapping[str, Any]) -> Iterator[Chart]:
    """The spectra of features and logits, and the loss around the weights."""
    if analysis.get("spectrum"):
        yield _spectra(analysis["spectrum"], analysis.get("effective_rank", {}))
    if analysis.get("sharpness"):
        yield _sharpness(analysis["sharpness"])


def _reliability(calibration: Mapping[str, Any]) -> Chart:
    bins = [one for one in calibration["bins"] if one["samples"]]
    most = max(one["samples"] for one in bins)
    right = sum(one["accuracy"] * one["samples"] for one in bins)
    sure = sum(one["confidence"] * one["samples"] for one in bins)
    leaning = "less often right than it is sure" if sure > right else "more often right than it is sure"

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle=(0, (2, 3)), linewidth=1, label="as sure as right")
        confidences, accuracies = [one["confidence"] for one in bins], [one["accuracy"] for one in bins]
        axes.vlines(confidences, confidences, accuracies, color=SERIES[1].color, linewidth=1.2)
        axes.plot(confidences, accuracies, color=SERIES[0].color, linewidth=1)
        areas = [12 + 110 * one["samples"] / most for one in bins]
        axes.scatter(confidences, accuracies, s=areas, color=SERIES[0].color, zorder=3, label="images, by area")
        axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1.03), ylim=(0, 1.05))
        axes.grid(visible=True)
        axes.legend(loc="upper left", markerscale=0.5)

    finding = f"The expected calibration error is {percent(calibration['ece'])}; on the whole the student is {leaning}."
    return drawn("calibration", "Reliability", finding, draw, size=(4.6, 3.6))


def _spectra(spectrum: Mapping[str, Any], ranks: Mapping[str, Any]) -> Chart:
    series = _by_network(spectrum)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for (name, values), stroke in zip(series.items(), SERIES, strict=False):
            marker: dict[str, Any] = {"marker": stroke.marker} if len(values) <= _MOST_MARKED else {}
            places = range(1, len(values) + 1)
            axes.plot(places, values, color=stroke.color, linestyle=stroke.line, label=name, **marker)
        axes.set(xlabel="singular value, by rank", ylabel="relative to the largest", ylim=(0, 1.05))
        axes.grid(visible=True, axis="y")
        axes.legend()

    parts = [f"{rank:.1f} of the {name}" for name, rank in _by_network(ranks).items()]
    finding = f"The effective rank is {' and '.join(parts)}." if parts else "The singular values, the largest first."
    return drawn("spectrum", "Singular values", finding, draw)


def _by_network(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts on features and logits by their names, with those of the teacher if its network was at hand."""
    of_teacher = {f"teacher's {name}": value for name, value in (facts.get("teacher") or {}).items()}
    return {name: value for name, value in facts.items() if name != "teacher" and value} | of_teacher


def _sharpness(sharpness: Mapping[str, Any]) -> Chart:
    radii, losses, deviations = sharpness["radii"], sharpness["losses"], sharpness.get("deviation")

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        stroke = SERIES[2]
        axes.plot(radii, losses, color=stroke.color, marker=stroke.marker)
        if isinstance(deviations, list):
            low, high = (
                [loss + sign * deviation for loss, deviation in zip(losses, deviations, strict=True)]
                for sign in (-1, 1)
            )
            axes.fill_between(radii, low, high, color=stroke.color, alpha=0.2, linewidth=0)
        axes.axhline(losses[0], color=RULE, zorder=0)
        axes.set(xlabel="distance from the weights, relative to their norm", ylabel="loss", ylim=(0, None))
        axes.grid(visible=True, axis="y")

    finding = f"At a distance of {radii[-1]:g} the loss is {losses[-1]:.3g}, against {losses[0]:.3g} at the weights."
    return drawn("sharpness", "Sharpness", finding, draw)
