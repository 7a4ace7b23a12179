"""Draw the pictures of docs/method.md from a real teacher's outputs. `make docs` runs it.

The outputs are in docs/images/method.json, and the pictures depend on this file alone. `python docs/draw_method.py
--record WEIGHTS` writes it again, with the weights that `distill-worker train examples/digits-teacher.toml` writes.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from math import comb, log10
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter
from torch import Tensor

from distill_worker.experiments.report.charts.chart import INK, MUTED, PLAIN, SERIES, Chart, drawn
from distill_worker.experiments.report.charts.document import document_svg
from distill_worker.losses import ckd_loss, kd_loss

IMAGES: Final = Path(__file__).parent / "images"
OUTPUTS: Final = IMAGES / "method.json"
TEMPERATURE: Final = 4.0
_SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
SHIFTED_CLASS: Final = 8
"""The class whose logit the blind student adds to, for every image."""
_POWERS: Final = FuncFormatter(lambda value, _place: "10" + f"{round(log10(value))}".translate(_SUPERSCRIPTS))
_RECORDED: Final = 100
_SIZES: Final = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


def comparisons(n: int, k: int) -> int:
    """The ordered comparisons of `ceil(k / 2)` of n samples with `floor(k / 2)` others."""
    of_a = (k + 1) // 2
    return comb(n, of_a) * comb(n - of_a, k - of_a)


def charts() -> Iterator[Chart]:
    """All pictures."""
    recorded = json.loads(OUTPUTS.read_text(encoding="utf-8"))
    logits = torch.tensor(recorded["logits"], dtype=torch.float64)
    shown = logits[recorded["shown"]]
    yield _differences(recorded["pixels"], shown)
    yield _pairs()
    yield _log_probabilities(shown)
    yield _blind(logits)


def _differences(pixels: Sequence[Sequence[int]], logits: Tensor) -> Chart:
    log_probabilities = logits.log_softmax(dim=1)
    first, second = log_probabilities.tolist()

    panels = [
        (f"image A: {_likeliest(first)}", first, SERIES[0].color),
        (f"image B: {_likeliest(second)}", second, SERIES[1].color),
        ("difference A - B", [one - other for one, other in zip(first, second, strict=True)], SERIES[2].color),
    ]

    def draw(figure: Figure) -> None:
        grid = figure.add_gridspec(2, len(panels), height_ratios=(1, 2.6))
        for column, image in enumerate(pixels):
            _image(figure.add_subplot(grid[0, column]), image)
        for column, (title, values, color) in enumerate(panels):
            _bars(figure.add_subplot(grid[1, column]), values, color, title)
        figure.axes[len(pixels)].set_ylabel("log-probability, nats")

    title = "Log-probabilities of two images, and their difference, class by class"
    return drawn("method-differences", title, "", draw, size=(8.4, 3.8))


def _likeliest(log_probabilities: Sequence[float]) -> str:
    """The two likeliest classes."""
    ranked = sorted(range(len(log_probabilities)), key=lambda one: -log_probabilities[one])
    return f'"{ranked[0]}", or else "{ranked[1]}"'


def _bars(axes: Axes, values: Sequence[float], color: str, title: str) -> None:
    axes.bar(range(len(values)), np.round(values, 6), color=color, width=0.7)
    axes.axhline(0, color=MUTED, linewidth=0.6)
    axes.set_xticks(range(len(values)))
    axes.set(xlabel="class", title=title)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)


def _image(axes: Axes, pixels: Sequence[int]) -> None:
    """The 8x8 image: dark on light, or light on dark."""
    side = 8
    for position, value in enumerate(pixels):
        corner = (position % side, position // side)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=INK, alpha=value / 16, linewidth=0))
    axes.set(xlim=(0, side), ylim=(side, 0), xticks=[], yticks=[], aspect="equal")
    for spine in axes.spines.values():
        spine.set(visible=True, color=MUTED)


def _pairs() -> Chart:
    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot(_SIZES, _SIZES, color=MUTED, linestyle="--", label="targets of KD: n")
        for k, stroke in zip((2, 3, 4), SERIES, strict=False):
            values = [comparisons(n, k) for n in _SIZES]
            axes.plot(_SIZES, values, color=stroke.color, marker=stroke.marker, label=f"comparisons of CKD, k = {k}")
        axes.annotate(
            f"n = 50: {comparisons(50, 2):,}",
            (50, comparisons(50, 2)),
            xytext=(60, 850),
            fontsize=8,
            color=INK,
        )
        axes.set(xscale="log", yscale="log", xlabel="bought outputs, n", ylabel="targets")
        axes.xaxis.set_major_formatter(PLAIN)
        axes.yaxis.set_major_formatter(_POWERS)
        axes.grid(visible=True)
        figure.legend(loc="outside right upper")

    return drawn("method-pairs", "Comparisons against bought outputs", "", draw, size=(6.8, 3.2))


def _log_probabilities(logits: Tensor) -> Chart:
    log_probabilities = logits.log_softmax(dim=1)
    compared = [((rows[0] - rows[1]) / TEMPERATURE).softmax(dim=0) for rows in (logits, log_probabilities)]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 3)
        _two(panels[0], logits, "logits")
        _two(panels[1], log_probabilities, "log-probabilities")
        last = panels[2]
        places = np.arange(logits.shape[1])
        last.bar(places, np.round(compared[0].numpy(), 6), color=SERIES[2].color, width=0.7, label="from logits")
        last.plot(
            places,
            np.round(compared[1].numpy(), 6),
            color=INK,
            linestyle="",
            marker="x",
            markersize=5,
            label="from log-probabilities",
        )
        last.set(title="softmax of (A - B) / T", xlabel="class", xticks=places)
        last.legend(loc="upper center", fontsize=7.5)
        last.set_ylim(top=1.45 * float(compared[0].max()))

    title = "Logits, log-probabilities, and the compared distributions of both"
    return drawn("method-log-probabilities", title, "", draw, size=(8.4, 3.0))


def _two(axes: Axes, rows: Tensor, title: str) -> None:
    for row, stroke, name in zip(rows.tolist(), SERIES, "AB", strict=False):
        axes.plot(
            range(len(row)),
            np.round(row, 6),
            color=stroke.color,
            marker=stroke.marker,
            linestyle=stroke.line,
            linewidth=0.9,
            label=f"image {name}",
        )
    axes.set(title=title, xlabel="class", xticks=range(rows.shape[1]))
    axes.grid(visible=True, axis="y")
    axes.legend(loc="best", fontsize=7.5)


def _blind(logits: Tensor) -> Chart:
    shifts = [round(0.25 * step, 2) for step in range(49)]
    vector = torch.zeros(logits.shape[1], dtype=torch.float64)
    vector[SHIFTED_CLASS] = 1
    students = [logits + shift * vector for shift in shifts]
    losses = {
        "KD": [float(kd_loss(student, logits, temperature=TEMPERATURE)) for student in students],
        "CKD, all pairs": [float(ckd_loss(student, logits, temperature=TEMPERATURE)) for student in students],
    }
    share = [100 * float((student.argmax(dim=1) == SHIFTED_CLASS).double().mean()) for student in students]

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        for (name, values), stroke in zip(losses.items(), SERIES, strict=False):
            left.plot(shifts, np.round(values, 6) + 0.0, color=stroke.color, linestyle=stroke.line, label=name)
        right.plot(shifts, share, color=SERIES[2].color)
        left.set(xlabel=f"added to the logit of class {SHIFTED_CLASS}", ylabel="loss, nats x T²")
        right.set(
            xlabel=f"added to the logit of class {SHIFTED_CLASS}", ylabel=f'images with the answer "{SHIFTED_CLASS}", %'
        )
        left.legend()
        for axes in (left, right):
            axes.grid(visible=True, axis="y")

    title = "The losses of a student whose outputs are all shifted by one vector, and its answers"
    return drawn("method-blind", title, "", draw, size=(7.6, 3.0))


def record(weights: Path) -> dict[str, Any]:
    """The logits of a teacher for the first test images of the digits, and which two of these images are shown.

    They are those of which the teacher is least sure, of two classes.
    """
    from distill_worker.data.datasets import load_dataset
    from teacher_service.models import TorchTeacher

    images = load_dataset("digits", Path()).test.images[:_RECORDED]
    logits = torch.from_numpy(TorchTeacher(weights, "cpu").predict(images.numpy())).double()
    log_probabilities = logits.log_softmax(dim=1)
    unsure = (-(log_probabilities.exp() * log_probabilities).sum(dim=1)).argsort(descending=True)
    classes = logits.argmax(dim=1)
    first = int(unsure[0])
    second = next(int(row) for row in unsure if classes[row] != classes[first])
    return {
        "shown": [first, second],
        "pixels": [(images[row].double() / 255 * 16).round().int().flatten().tolist() for row in (first, second)],
        "logits": [[round(value, 4) for value in row] for row in logits.tolist()],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw the pictures of docs/method.md.")
    parser.add_argument("--record", type=Path, metavar="WEIGHTS", help="write the outputs of this teacher first")
    arguments = parser.parse_args()
    if arguments.record is not None:
        OUTPUTS.write_text(json.dumps(record(arguments.record)) + "\n", encoding="utf-8")
    for chart in charts():
        (IMAGES / f"{chart.name}.svg").write_text(document_svg(chart), encoding="utf-8")
