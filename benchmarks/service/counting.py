"""What counting costs by itself: durable reservations a second, alone and in shared commits, on a real SQLite file."""

import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, figure
from teacher_service.database import open_database
from teacher_service.group_commit import GroupCommit
from teacher_service.instance import open_instance
from teacher_service.key_ring import KeyRing
from teacher_service.ledger import Ledger, Query

RUNS = 5
RESERVATIONS = 2000


def counting_figures() -> Sequence[Figure]:
    """Reservations a second: one at a time, 64 at a time, and how many times the one is the other."""
    alone, shared, ratios = [], [], []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
            alone.append(reservations_per_second(Path(first), 1))
            shared.append(reservations_per_second(Path(second), 64))
            ratios.append(shared[-1] / alone[-1])
    return [
        figure("service", "durable_reservations_alone", alone, unit="1/s", better="higher"),
        figure("service", "durable_reservations_64_in_flight", shared, unit="1/s", better="higher", target=5000),
        figure("service", "group_commit_speedup", ratios, unit="x", better="higher", target=1.0),
    ]


def reservations_per_second(folder: Path, in_flight: int) -> float:
    """Durable reservations a second with so many callers waiting at once."""
    engine = open_database(folder / "ledger.sqlite")
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        commits = GroupCommit(engine)
        stack.callback(commits.close)
        instance = stack.enter_context(open_instance(engine))
        key_id = KeyRing(engine, commits, time.time).create("benchmark", 2**40).id
        ledger = Ledger(engine, commits, instance, time.time)
        total = RESERVATIONS if in_flight > 1 else RESERVATIONS // 10
        waiting: list[Future[Any]] = []
        started = time.perf_counter()
        for index in range(total):
            waiting.append(ledger.reserve(Query(str(index), key_id, "teacher", "0", 1, "0" * 64, None)))
            if len(waiting) == in_flight:
                for future in waiting:
                    future.result()
                waiting.clear()
        for future in waiting:
            future.result()
        return total / (time.perf_counter() - started)
