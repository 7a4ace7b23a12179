"""What counting costs by itself: durable charges a second, alone and in shared commits, on a real SQLite file.

A charge is a reservation and its settlement, with the stored answer: two commits, of which the second is on disk, and
with it the first, when it is counted here.
"""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import Figure, figure
from shared.oip import Body
from teacher_service.database.engine import open_database, open_process_lock
from teacher_service.database.query_facts import Query
from teacher_service.keys.store import KeyStore
from teacher_service.ledger.group_commit import GroupCommit
from teacher_service.ledger.ledger import Ledger, Reservation

RUNS = 5
CHARGES = 6400
_ANSWER = Body(bytes(200), 160)


def counting_figures() -> Sequence[Figure]:
    """Charges a second: one at a time, 64 at a time, and how many times the one is the other."""
    alone, shared, ratios = [], [], []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
            alone.append(charges_per_second(Path(first), 1, CHARGES // 16))
            shared.append(charges_per_second(Path(second), 64, CHARGES))
            ratios.append(shared[-1] / alone[-1])
    return [
        figure("service", "durable_charges_alone", alone, unit="1/s", better="higher"),
        figure("service", "durable_charges_64_in_flight", shared, unit="1/s", better="higher", target=5000),
        figure("service", "group_commit_speedup", ratios, unit="x", better="higher", target=1.0),
    ]


def charges_per_second(folder: Path, in_flight: int, total: int) -> float:
    """Durable charges a second with so many callers waiting at once."""
    engine = open_database(folder / "ledger.sqlite")
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        commits = GroupCommit(engine)
        stack.callback(commits.close)
        instance = stack.enter_context(open_process_lock(engine))
        key_id = KeyStore(engine, commits, time.time).create("benchmark", 2**40).id
        ledger = Ledger(engine, commits, instance, time.time)
        started = time.perf_counter()
        for start in range(0, total, in_flight):
            held = [ledger.reserve(_query(key_id, number)) for number in range(start, start + in_flight)]
            paid = []
            for reserved in held:
                reservation = reserved.result()
                if not isinstance(reservation, Reservation):
                    raise TypeError(f"expected a reservation, got {reservation}")
                paid.append(ledger.settle(reservation, _ANSWER))
            for settled in paid:
                settled.result()
        return total / (time.perf_counter() - started)


def _query(key_id: str, number: int) -> Query:
    return Query(
        request_id=str(number),
        key_id=key_id,
        model_name="teacher",
        model_version="0",
        samples=1,
        payload_sha256="0" * 64,
        idempotency_key=str(number),
    )
