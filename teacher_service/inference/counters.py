"""Counts and durations since the service started: the source of `/metrics` and of the protocol's statistics.

Only the event loop's thread writes them. Clients cannot make them use more memory: they are kept by kind of problem and
by batch size, and there are few of either.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

DURATION_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram's buckets, in seconds; the last bucket has none."""


@dataclass
class Duration:
    """The number of occurrences, and their total time in seconds."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Record one occurrence that took `seconds`."""
        self.count += 1
        self.seconds += seconds


@dataclass
class Counters:
    """Counts and durations that only increase."""

    answered: Duration = field(default_factory=Duration)
    """Computed and charged queries, from the start of the request to its response."""
    replayed: Duration = field(default_factory=Duration)
    """Queries answered with a stored response, free."""
    rejected: defaultdict[str, Duration] = field(default_factory=lambda: defaultdict(Duration))
    """Queries answered with a problem, by its kind."""
    queued: Duration = field(default_factory=Duration)
    """Charged queries, from when their samples were held until the model took their images."""
    computed: Duration = field(default_factory=Duration)
    """Charged queries and the time of their passes: a pass that four queries share counts four times."""
    samples: int = 0
    """Charged samples."""
    passes: defaultdict[int, Duration] = field(default_factory=lambda: defaultdict(Duration))
    """Passes of the model, by number of samples."""
    durations: Counter[int] = field(default_factory=Counter)
    """Charged queries, by the bucket of `DURATION_BOUNDS` that they fall into."""
    last_answer_at: float = 0.0
    """Unix time in seconds; 0 before the first answer."""

    def count_answer(self, samples: int, seconds: float, queue_seconds: float, compute_seconds: float) -> None:
        """Record one query that was computed and charged."""
        self.answered.add(seconds)
        self.queued.add(queue_seconds)
        self.computed.add(compute_seconds)
        self.samples += samples
        self.durations[bisect_left(DURATION_BOUNDS, seconds)] += 1

    def count_pass(self, samples: int, seconds: float) -> None:
        """Record one pass of the model."""
        self.passes[samples].add(seconds)
