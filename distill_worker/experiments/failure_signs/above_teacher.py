"""A student that is better than what it learned from."""

import statistics
from collections.abc import Iterator, Mapping
from typing import Any, Final

from distill_worker.data.agreement import Counts, is_certainly_below
from distill_worker.experiments.failure_signs.listing import listed
from distill_worker.experiments.results.accuracies import accuracies_of, methods_of, results_of

CLEARLY: Final = 2.0
"""Points of accuracy: twice the standard error of 90 % on 1,000 test images."""

_MEANING: Final = (
    "Usually the teacher is trained badly or gets images with other preprocessing than it expects, or test images are "
    "among the training images; a student that also learns from labels or from images that were not bought may be "
    "better by right, and so may that of a teacher that was made worse on purpose. "
    "Check the teacher's own accuracy, and whether both splits share images."
)


def above_teacher(facts: Mapping[str, Any]) -> str | None:
    """The rows that are above a teacher whose test accuracy is stated: with every seed, and clearly in the mean.

    Args:
        facts: see `run_comparison`.
    """
    teacher = facts["teacher"].get("accuracy")
    if teacher is None:
        return None
    cases = [case for method in methods_of(facts) for case in _above(facts, method, 100 * teacher)]
    if not cases:
        return None
    return f"A student is above its teacher, which has {100 * teacher:.1f} %: {listed(cases)}. {_MEANING}"


def above_answers(test_accuracy: float, counts: Counts) -> str | None:
    """A student that is more often right on the test images than the teacher certainly is on the bought samples.

    Args:
        test_accuracy: of the student, a share of 1.
        counts: of the bought samples, which must not be selected for being hard.
    """
    bound = test_accuracy - CLEARLY / 100
    if not 0 < bound < 1 or not is_certainly_below(counts, bound):
        return None
    return (
        f"The student gets {100 * test_accuracy:.1f} % of the test images right, and its teacher "
        f"{100 * counts.agreements / counts.samples:.1f} % of the {counts.samples:,} bought samples. {_MEANING}"
    )


def _above(facts: Mapping[str, Any], method: str, teacher: float) -> Iterator[str]:
    for n in sorted({result["n"] for result in facts["results"] if result["method"] == method}):
        accuracies = accuracies_of(facts, method, n)
        has_teacher = any(one["calls"] for one in results_of(facts, method, n))
        if has_teacher and min(accuracies) > teacher and statistics.mean(accuracies) >= teacher + CLEARLY:
            yield f"{method} has {statistics.mean(accuracies):.1f} % at n = {n:,}"
