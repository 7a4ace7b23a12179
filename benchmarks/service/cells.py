"""How it is measured: every subject in every cell, one after the other, round after round.

A cell is a number of requests in flight and of images a request. The machine's speed drifts within minutes, so in each
round each cell measures the bare loop and all subjects right after each other, and ratios are taken within that.
Whoever is not measured is stopped.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.service.bare_loop import Predict, images_per_second
from benchmarks.service.load import Load, run_load
from benchmarks.service.subjects import MAX_BATCH_SIZE, Images, Running, Subject

WARM_UP_SHARE = 0.25
"""Of the measured time, and before it."""


@dataclass(frozen=True)
class Cell:
    """What the client does."""

    batch: int
    concurrency: int

    def __str__(self) -> str:
        return f"b{self.batch}_c{self.concurrency}"


CELLS = tuple(Cell(batch, concurrency) for batch in (1, 64) for concurrency in (1, 8, 32))


@dataclass
class Series:
    """One subject in one cell: one value a round."""

    images_per_second: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    share: list[float] = field(default_factory=list)
    """Of the bare loop of 64 images a pass."""


@dataclass
class Measurements:
    """What a run found, by subject and cell; and the bare loop, by images a pass."""

    series: dict[tuple[str, Cell], Series] = field(default_factory=dict)
    bare: dict[int, list[float]] = field(default_factory=lambda: {1: [], MAX_BATCH_SIZE: []})


def measure(
    subjects: Sequence[Subject], servers: Mapping[str, Running], predict: Predict, *, seconds: float, rounds: int
) -> Measurements:
    """Measure every subject in every cell, `seconds` each, in each round; says on standard output how far it is."""
    found = Measurements()
    warm_up = WARM_UP_SHARE * seconds
    for number in range(rounds):
        found.bare[1].append(images_per_second(predict, _images(1), seconds, warm_up))
        for cell in CELLS:
            bare = images_per_second(predict, _images(MAX_BATCH_SIZE), seconds, warm_up)
            found.bare[MAX_BATCH_SIZE].append(bare)
            for subject in _from(number, subjects):
                series = found.series.setdefault((subject.name, cell), Series())
                _measure_one(series, subject, servers[subject.server], cell, seconds, bare)
        print(f"round {number + 1} of {rounds}", flush=True)
    return found


def _measure_one(series: Series, subject: Subject, running: Running, cell: Cell, seconds: float, bare: float) -> None:
    request = subject.request(_images(cell.batch), running.key)
    load = Load(
        cell.concurrency,
        seconds,
        warm_up_seconds=WARM_UP_SHARE * seconds,
        key_every=1 if subject.has_idempotency_keys else 0,
    )
    with running.server.awake():
        answered = run_load(running.server.port, request, load)
    series.images_per_second.append(answered.requests * cell.batch / answered.seconds)
    series.p50_ms.append(answered.p50_ms)
    series.p99_ms.append(answered.p99_ms)
    series.share.append(series.images_per_second[-1] / bare)


def _from(start: int, subjects: Sequence[Subject]) -> Iterator[Subject]:
    """All of them, another one first in each round."""
    for index in range(len(subjects)):
        yield subjects[(start + index) % len(subjects)]


def _images(count: int) -> Images:
    return np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), np.uint8)
