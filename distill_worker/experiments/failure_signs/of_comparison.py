"""All signs that the facts of a comparison show."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from distill_worker.data.agreement import Counts
from distill_worker.experiments.failure_signs.above_teacher import above_teacher
from distill_worker.experiments.failure_signs.below_kd import below_kd
from distill_worker.experiments.failure_signs.disagreement import teacher_against_labels
from distill_worker.experiments.failure_signs.flat_curve import flat_curve
from distill_worker.experiments.failure_signs.rising_loss import Rise, rising_loss
from distill_worker.experiments.failure_signs.spread import wide_spread

Facts = Mapping[str, Any]


def signs_of_comparison(facts: Facts) -> list[str]:
    """A sentence or two for each sign, those first that put all rows in doubt; `facts` as of `run_comparison`."""
    return [sign for of in _SIGNS if (sign := of(facts)) is not None]


def _disagreement(facts: Facts) -> str | None:
    teacher = facts["teacher"]
    counts = teacher.get("agreement")
    return None if counts is None else teacher_against_labels(Counts(**counts), teacher.get("accuracy"))


def _rising_losses(facts: Facts) -> str | None:
    return rising_loss(
        {
            f"{one['method']}, n = {one['n']:,}, seed {one['seed']}": Rise(**one["rise"])
            for one in facts["results"]
            if "rise" in one
        }
    )


_SIGNS: Final[tuple[Callable[[Facts], str | None], ...]] = (
    _disagreement,
    above_teacher,
    below_kd,
    flat_curve,
    wide_spread,
    _rising_losses,
)
