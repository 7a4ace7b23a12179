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
    taken = tuning.first_steps or _share(steps, 1, tuning.eta**2)
    while taken < steps and candidates > tuning.eta:  # of fewer candidates, all would go on
        folds = max(1, round(tuning.folds * taken / steps))
        planned.append(Rung(candidates, folds, taken, steps))
        candidates = max(tuning.eta, _share(candidates, 1, tuning.eta))
        taken *= tuning.eta
    return [*planned, Rung(candidates, tuning.folds, steps, steps)]


def _share(number: int, part: int, whole: int) -> int:
    """As large a part of a number, rounded up."""
    return -(-number * part // whole)
