"""The results of a comparison by method and n, out of its facts; see `run_comparison`."""

import statistics
from collections.abc import Mapping
from typing import Any

Result = Mapping[str, Any]


def methods_of(facts: Mapping[str, Any]) -> list[str]:
    """The labels of the rows, in their order."""
    return list(dict.fromkeys(result["method"] for result in facts["results"]))


def results_of(facts: Mapping[str, Any], method: str, n: int) -> list[Result]:
    """The results of a method at one n, by seed."""
    chosen = [result for result in facts["results"] if (result["method"], result["n"]) == (method, n)]
    return sorted(chosen, key=lambda result: result["seed"])


def accuracies_of(facts: Mapping[str, Any], method: str, n: int) -> list[float]:
    """The test accuracies of a method at one n, in percent, by seed."""
    return [100 * result["accuracy"] for result in results_of(facts, method, n)]


def samples_paid(facts: Mapping[str, Any], method: str, n: int) -> float:
    """What a student of a method costs at one n: n samples, or its calls if they are more, as with bought mixtures."""
    calls: float = statistics.mean(result["calls"] for result in results_of(facts, method, n))
    return max(n, calls)
