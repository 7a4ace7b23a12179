"""Schedules of the learning rate, and the end of a training.

Steps are counted from 1: the first step is taken with the first value of the schedule.
"""

import math
from typing import Any


def cosine_rate(base: float, step: int, steps: int) -> float:
    """`base` at the first step, then along half a cosine towards 0 after the last."""
    return base * 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))


def one_cycle_rate(base: float, step: int, steps: int) -> float:
    """From `base / 25` up to `base` over the first 30 % of the steps, then down towards `base / 10,000`; half cosines.

    Source: Smith and Topin 2018, arXiv 1708.07120, with the usual settings of its implementations.
    """
    rise = 0.3 * steps
    done = step - 1
    if done < rise:
        return _between(base / 25, base, done / rise)
    return _between(base, base / 10_000, (done - rise) / (steps - rise))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))


class Patience:
    """The paper's schedule: the rate falls, three times, after `patience_epochs` epochs without a better accuracy.

    Source: Wilf et al. 2023, arXiv 2311.02253, section 4.
    """

    DROPS = 3
    FACTOR = 0.1

    def __init__(self, patience_epochs: int) -> None:
        self._patience_epochs = patience_epochs
        self._waited = 0
        self.drops = 0

    @property
    def factor(self) -> float:
        """The current factor of the learning rate."""
        return self.FACTOR**self.drops

    @property
    def is_exhausted(self) -> bool:
        """Whether patience ran out again after the last drop, so that the training ends."""
        return self.drops > self.DROPS

    def after_epoch(self, *, improved: bool) -> bool:
        """Count an epoch and return whether patience ran out, so that training resumes from the best weights."""
        self._waited = 0 if improved else self._waited + 1
        if self._waited < self._patience_epochs:
            return False
        self._waited = 0
        self.drops += 1
        return True

    def state(self) -> dict[str, Any]:
        """The state to store in a checkpoint."""
        return {"waited": self._waited, "drops": self.drops}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self._waited, self.drops = int(state["waited"]), int(state["drops"])
