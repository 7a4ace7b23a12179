"""The facts of comparisons with accuracies that a test states."""

from collections.abc import Mapping, Sequence
from typing import Any


def planted(
    accuracies: Mapping[tuple[str, int], Sequence[float]], *, teacher: float | None = None, calls: int | None = None
) -> dict[str, Any]:
    """The facts of a comparison with one row of single-sample KD.

    Args:
        accuracies: in percent, one for each seed, by row and n.
        teacher: its test accuracy, in percent; None if it is not stated.
        calls: of each student; by default n.
    """
    return {
        "n": sorted({n for _, n in accuracies}),
        "baseline": "KD",
        "single_sample_kd": ["KD"],
        "teacher": {"id": "t"} if teacher is None else {"id": "t", "accuracy": teacher / 100},
        "results": [
            {"method": method, "n": n, "seed": seed, "accuracy": value / 100, "calls": n if calls is None else calls}
            for (method, n), values in accuracies.items()
            for seed, value in enumerate(values)
        ],
    }
