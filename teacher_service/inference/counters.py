"""What the service did since it started, in numbers: the source of `/metrics` and of the protocol's statistics.

Only the event loop's thread changes it. No caller can make it grow: it counts by kind of problem and by size of batch,
and there are few of either.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

DURATION_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds; the last bucket has none."""


@dataclass
class Duration:
    """How often something was done, and the seconds that it took altogether."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Once more."""
        self.count += 1
        self.seconds += seconds


@dataclass
class Statistics:
    """Numbers that only grow."""

    answered: Duration = field(default_factory=Duration)
    """Queries that were computed and charged, from the request's start to the answer."""
    replayed: Duration = field(default_factory=Duration)
    """Queries that were answered once more, free."""
    refused: defaultdict[str, Duration] = field(default_factory=lambda: defaultdict(Duration))
    """Queries that got a problem instead, by its kind."""
    queued: Duration = field(default_factory=Duration)
    """Queries, from when their images were ready and their samples held until the model took them."""
    computed: Duration = field(default_factory=Duration)
    """Queries, and the passes that they were part of: one that four queries share is counted four times."""
    samples: int = 0
    """Samples answered and charged."""
    passes: defaultdict[int, Duration] = field(default_factory=lambda: defaultdict(Duration))
    """Passes of the model, by their number of samples."""
    durations: Counter[int] = field(default_factory=Counter)
    """Answered queries, by the bucket of `DURATION_BOUNDS` that they fall into."""
    last_answer_at: float = 0.0
    """Seconds since the epoch."""

    def count_answer(self, samples: int, seconds: float, queue_seconds: float, compute_seconds: float) -> None:
        """A query was computed and charged."""
        self.answered.add(seconds)
        self.queued.add(queue_seconds)
        self.computed.add(compute_seconds)
        self.samples += samples
        self.durations[bisect_left(DURATION_BOUNDS, seconds)] += 1

    def count_pass(self, samples: int, seconds: float) -> None:
        """The model answered a batch."""
        self.passes[samples].add(seconds)
