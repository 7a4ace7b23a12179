"""The picture of `docs/results/training-speed.md`: an SVG file that changes only with the figures."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure as Picture

from benchmarks.figures import Figure
from benchmarks.training.growth import (
    BATCHES,
    CLASSES,
    PART,
    SAMPLES,
    formula_bytes,
    loss_name,
    memory_name,
    step_name,
)

PLACE = Path(__file__).parents[2] / "docs" / "results" / "training-growth.svg"


def draw(recorded: Mapping[str, Figure]) -> None:
    """Write the picture from the figures by name."""

    def value(name: str) -> float:
        return float(recorded[PART.named(name)]["value"])

    with matplotlib.rc_context({"svg.hashsalt": "training-growth", "svg.fonttype": "none", "font.size": 9}):
        picture = Picture(figsize=(11, 3.6), layout="constrained")
        by_samples, by_time, by_memory = picture.subplots(1, 3)
        by_samples.plot(SAMPLES, [value(step_name(n)) for n in SAMPLES], marker="o")
        by_samples.set(title="A step, default precision", xlabel="samples", ylabel="ms", xscale="log", ylim=(0, None))
        for classes in CLASSES:
            times = [value(loss_name(batch, classes)) for batch in BATCHES]
            by_time.plot(BATCHES, times, marker="o", label=f"{classes} classes")
            measured = [value(memory_name(batch, classes)) for batch in BATCHES]
            (points,) = by_memory.plot(BATCHES, measured, "o", label=f"{classes} classes")
            formula = [formula_bytes(batch, classes) / 2**20 for batch in BATCHES]
            by_memory.plot(BATCHES, formula, "--", color=points.get_color(), linewidth=1)
        by_time.set(title="All pairs, forward and backward", xlabel="batch", ylabel="ms", xscale="log", yscale="log")
        by_memory.set(title="Peak memory; dashed: formula", xlabel="batch", ylabel="MiB", xscale="log", yscale="log")
        for axes in (by_time, by_memory):
            axes.set_xticks(BATCHES, [str(batch) for batch in BATCHES], minor=False)
            axes.minorticks_off()
            axes.legend(frameon=False)
        picture.savefig(PLACE, metadata={"Date": None, "Creator": None})
