"""Successive halving: many candidates with few steps and folds, then fewer candidates with more.

Source: Jamieson and Talwalkar 2015, arXiv 1502.07943. Departs: a rung's trials begin anew, because the schedule of the
learning rate ends with the steps of a trial.
"""

from typing import NamedTuple

from distill_worker.config.stages.tuning import Tuning


class Rung(NamedTuple):
    """One round of trials."""

    candidates: int
    """How many are left."""
    folds: int
    """Each candidate is scored on the first so many folds."""
    steps: int
    """Of a trial of a candidate with the most steps."""
    most_steps: int
    """The steps of such a candidate."""

    def steps_of(self, steps: int) -> int:
        """The steps of a trial of a candidate that has `steps`: as large a part of them."""
        return _share(steps, self.steps, self.most_steps)


def rungs(tuning: Tuning, *, candidates: int, steps: int) -> list[Rung]:
    """The rungs of a tuning; the last one has all folds and steps.

    Args:
        tuning: the section.
        candidates: how many there are at first.
        steps: the most that a candidate has.
    """
    planned = list[Rung]()
    taken = min(steps, tuning.first_steps or max(1, steps // tuning.eta**2))
    while True:
        planned.append(Rung(candidates, _share(tuning.folds, taken, steps), taken, steps))
        if taken == steps:
            return planned
        candidates = max(min(candidates, tuning.eta), -(-candidates // tuning.eta))
        taken = min(steps, taken * tuning.eta)


def _share(number: int, part: int, whole: int) -> int:
    """As large a part of a number, rounded up."""
    return -(-number * part // whole)
