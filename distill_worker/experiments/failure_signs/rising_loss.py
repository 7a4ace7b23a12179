"""A loss that diverged in the course of a training, whether or not it came back."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from distill_worker.experiments.failure_signs.listing import listed

WINDOW: Final = 3
"""Logged losses of which the median counts: each is of one batch, and one hard batch is no divergence."""
FEWEST_LOGGED: Final = 10
"""Fewer losses show no course."""
FALLEN: Final = 0.5
"""Share of the first loss below which a training has got somewhere; before that, the loss may vary."""
RISEN: Final = 1.0
"""Share of the first loss at which everything is lost that was learned. Of several hundred sound trainings on
digits, Fashion-MNIST and glyphs, none comes back to it."""


class Rise(NamedTuple):
    """How a loss fell, rose and ended, in medians over `WINDOW` logged ones."""

    first: float
    lowest: float
    """Before the peak."""
    peak: float
    step: int
    """Of the peak."""
    last: float


def rise_of(metrics: Sequence[Mapping[str, Any]]) -> Rise | None:
    """How the loss of a training fell below `FALLEN` and rose to `RISEN` again; None if it did not.

    Args:
        metrics: the lines of its metrics.jsonl, in their order.
    """
    logged = [line for line in metrics if "loss" in line and math.isfinite(line["loss"])]
    if len(logged) < FEWEST_LOGGED:
        return None
    losses = [
        statistics.median(line["loss"] for line in logged[start : start + WINDOW])
        for start in range(len(logged) - WINDOW + 1)
    ]
    first = losses[0]
    fallen = next((place for place, loss in enumerate(losses) if loss <= FALLEN * first), len(losses))
    peak = max(range(fallen, len(losses)), key=losses.__getitem__, default=0)
    if first <= 0 or peak == 0 or losses[peak] < RISEN * first:
        return None
    return Rise(first, min(losses[:peak]), losses[peak], logged[peak + WINDOW // 2]["step"], losses[-1])


def rising_loss(rises: Mapping[str, Rise]) -> str | None:
    """The trainings whose loss rose again.

    Args:
        rises: by the name of the student; one alone may have an empty name.
    """
    if not rises:
        return None
    cases = [
        f"{f'{name}: ' if name else ''}from {rise.lowest:.3g} to {rise.peak:.3g} at step {rise.step:,}, and "
        f"{rise.last:.3g} at the end"
        for name, rise in rises.items()
    ]
    return (
        f"The loss diverged and rose to its first value or above: {listed(cases)}. Usually the learning rate is too "
        "high, and the student has lost what it learned before. Lower training.learning_rate, and train again."
    )
