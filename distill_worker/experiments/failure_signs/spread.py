"""Seeds that differ too much."""

import statistics
from collections.abc import Iterator, Mapping
from typing import Any, Final

from distill_worker.experiments.failure_signs.listing import listed
from distill_worker.experiments.results.accuracies import methods_of, results_of

FEWEST_SEEDS: Final = 3
"""Two seeds say too little of a deviation."""
MOST_POINTS: Final = 8.0
"""Standard deviation in points of accuracy. Sound students that learn from 50 samples or fewer have up to 6.4
(docs/results); one of five that fails to train costs them about 30."""


def wide_spread(facts: Mapping[str, Any]) -> str | None:
    """The rows whose seeds have a larger standard deviation than `MOST_POINTS` at some n.

    Args:
        facts: see `run_comparison`.
    """
    cases = [
        case
        for method in methods_of(facts)
        for n in sorted({result["n"] for result in facts["results"] if result["method"] == method})
        for case in _wide(facts, method, n)
    ]
    if not cases:
        return None
    return (
        f"The seeds of a row have a standard deviation above {MOST_POINTS:g} points: {listed(cases)}. Usually some of "
        "these trainings failed, or n is so small that the first weights decide. See the training curve of the worst "
        "seed, try a lower training.learning_rate, and take more seeds before you compare rows."
    )


def _wide(facts: Mapping[str, Any], method: str, n: int) -> Iterator[str]:
    by_seed = {result["seed"]: 100 * result["accuracy"] for result in results_of(facts, method, n)}
    if len(by_seed) < FEWEST_SEEDS:
        return
    deviation = statistics.stdev(by_seed.values())
    if deviation > MOST_POINTS:
        worst, best = (pick(by_seed, key=by_seed.__getitem__) for pick in (min, max))
        yield (
            f"{method} at n = {n:,} has {deviation:.1f}, from {by_seed[worst]:.1f} % (seed {worst}) to "
            f"{by_seed[best]:.1f} % (seed {best})"
        )
