"""Accuracy that is flat while n grows."""

import statistics
from collections.abc import Iterator, Mapping
from typing import Any, Final

from distill_worker.experiments.failure_signs.listing import listed
from distill_worker.experiments.results.accuracies import accuracies_of, methods_of

GROWTH: Final = 4.0
"""How many times the smallest n the largest one must be: below that, the spread of the seeds hides a slow growth."""
ROOM: Final = 5.0
"""Points between the accuracy at the smallest n and the teacher's, or 100 %: a student that is closer is as good as
done."""
EXPONENT: Final = 0.05
"""The room that is left shrinks as n to the power of minus this, or faster. It is half of the smallest exponent that a
forecast fits, so that a slow curve with some spread is not flat yet."""


def flat_curve(facts: Mapping[str, Any]) -> str | None:
    """The rows whose mean accuracy hardly grows from their smallest n to their largest one.

    Args:
        facts: see `run_comparison`.
    """
    cases = [case for method in methods_of(facts) for case in _flat(facts, method)]
    if not cases:
        return None
    return (
        f"Accuracy is flat while n grows: {listed(cases)}. More samples do not help such a student: usually it has too "
        "few steps or too small a network, or the teacher's outputs say little. Before you buy more, try a larger "
        "training.steps or student.network."
    )


def _flat(facts: Mapping[str, Any], method: str) -> Iterator[str]:
    sizes = sorted({result["n"] for result in facts["results"] if result["method"] == method})
    small, large = sizes[0], sizes[-1]
    before, after = (statistics.mean(accuracies_of(facts, method, n)) for n in (small, large))
    room = 100 * facts["teacher"].get("accuracy", 1.0) - before
    if large >= GROWTH * small and room >= ROOM and after - before < room * (1 - (large / small) ** -EXPONENT):
        yield f"{method} has {before:.1f} % at n = {small:,} and {after:.1f} % at n = {large:,}"
