"""How much a run of the tests repeats: a little for `make test`, the full rounds for `make endurance`."""

import os
from typing import Any, Final

from benchmarks import figures

ENDURANCE: Final = bool(os.environ.get("TUITION_ENDURANCE"))
"""Whether this run repeats everything in full and records its figures."""
HANG_SECONDS: Final = 600.0
"""After this time a test fails because what it waits for hangs. No test passes or fails by a shorter time."""


def rounds(quick: int, full: int) -> int:
    """Return how often this run repeats something: `quick` times, or `full` times in an endurance run."""
    return full if ENDURANCE else quick


def record(*args: Any, **kwargs: Any) -> None:
    """Record a figure as `benchmarks.figures.record` does, in an endurance run; do nothing in any other run."""
    if ENDURANCE:
        figures.record(*args, **kwargs)
