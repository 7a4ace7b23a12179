"""A method that learns less from a teacher than single-sample KD."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from distill_worker.experiments.failure_signs.listing import listed
from distill_worker.experiments.results.accuracies import accuracies_of, methods_of, results_of
from distill_worker.experiments.results.paired_tests import Paired, against_baseline, p_value_text

LEVEL: Final = 0.05
"""Of the paired t-test over the seeds, after Holm's correction over the rows at one n: as in the tables."""
FEWEST_SEEDS: Final = 3
"""With two seeds, equal differences look certain."""
LEAST_POINTS: Final = 1.0
"""Points below KD: a smaller difference may be significant, but decides for no method."""


def below_kd(facts: Mapping[str, Any]) -> str | None:
    """The rows with a teacher that are significantly below the row of single-sample KD at some n.

    Args:
        facts: see `run_comparison`; without the fact `single_sample_kd`, as of earlier versions, nothing is compared.
    """
    kd = _reference(facts)
    if kd is None:
        return None
    cases = [
        f"{method} at n = {n:,} by {-test.difference:.1f} points ({p_value_text(test.holm_p_value)})"
        for n in facts["n"]
        for method, test in _tests(facts, kd, n).items()
        if test.seeds >= FEWEST_SEEDS and test.difference <= -LEAST_POINTS and test.holm_p_value < LEVEL
    ]
    if not cases:
        return None
    return (
        f"A method is significantly below {kd}, which compares single samples alone: {listed(cases)}. Usually the "
        "weight of its loss, its temperature or the learning rate does not suit the data. Let [tuning] choose its "
        f"settings, or use {kd}."
    )


def _reference(facts: Mapping[str, Any]) -> str | None:
    """The row of single-sample KD: the baseline, if it is one, or else the first."""
    rows: Sequence[str] = facts.get("single_sample_kd", ())
    return facts["baseline"] if facts["baseline"] in rows else next(iter(rows), None)


def _tests(facts: Mapping[str, Any], kd: str, n: int) -> dict[str, Paired]:
    """The paired tests against KD of the rows that learn from a teacher, and are no KD themselves, at one n.

    All rows at this n are tested, as in the table, so that both correct over the same ones.
    """
    tests = against_baseline({method: accuracies_of(facts, method, n) for method in methods_of(facts)}, kd)
    return {
        method: test
        for method, test in tests.items()
        if method not in facts["single_sample_kd"] and any(one["calls"] for one in results_of(facts, method, n))
    }
