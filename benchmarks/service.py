"""What counting costs: durable reservations a second, alone and in shared commits, and one request's latency.

`python -m benchmarks.service` uses a real SQLite file in a temporary folder, and a real service process on loopback.
"""

import statistics
import tempfile
import time
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.figures import record
from distill_worker.local_service import create_key, served
from distill_worker.teachers.oip import OipTeacher
from shared.networks import build_network
from shared.weights import WeightsCard, weights_bytes
from teacher_service.database import open_database
from teacher_service.group_commit import GroupCommit
from teacher_service.instance import open_instance
from teacher_service.key_ring import KeyRing
from teacher_service.ledger import Ledger, Query

RUNS = 5
RESERVATIONS = 2000
REQUESTS = 100


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


def request_latencies(folder: Path) -> list[float]:
    """Milliseconds of requests of one image, one at a time: authentication, ledger, model and answer together."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network("resnet8", num_classes=10, in_channels=1)
    digits = tuple("0123456789")
    card = WeightsCard(
        network="resnet8", num_classes=10, in_channels=1, image_size=(8, 8), mean=(0.3,), std=(0.4,), class_names=digits
    )
    weights, key_file = folder / "teacher.safetensors", folder / "key"
    weights.write_bytes(weights_bytes(network, card))
    create_key(folder, name="benchmark", quota=10 * REQUESTS, key_file=key_file)
    image = np.zeros((1, 1, 8, 8), np.uint8)
    latencies = []
    with (
        served(weights, folder) as url,
        OipTeacher(
            url,
            model="teacher",
            api_key=key_file.read_text().strip(),
            timeout_seconds=10,
            give_up_after_seconds=10,
        ) as teacher,
    ):
        description = teacher.describe()
        for index in range(REQUESTS + 10):
            started = time.perf_counter()
            teacher.buy(image, description=description, idempotency_key=f"request-{index}")
            latencies.append(1000 * (time.perf_counter() - started))
    return latencies[10:]


def _main() -> None:
    alone, shared, ratios = [], [], []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
            alone.append(reservations_per_second(Path(first), 1))
            shared.append(reservations_per_second(Path(second), 64))
            ratios.append(shared[-1] / alone[-1])
    record("service", "durable_reservations_alone", alone, unit="1/s", better="higher")
    record("service", "durable_reservations_64_in_flight", shared, unit="1/s", better="higher", target=5000)
    record("service", "group_commit_speedup", ratios, unit="x", better="higher", target=1.0)
    with tempfile.TemporaryDirectory() as folder:
        latencies = request_latencies(Path(folder))
    record("service", "request_of_1_image", latencies, unit="ms", better="lower")
    print(
        f"durable reservations: {statistics.median(alone):.0f}/s alone, {statistics.median(shared):.0f}/s with 64 in "
        f"flight, {statistics.median(ratios):.1f} x; one image: {statistics.median(latencies):.1f} ms"
    )


if __name__ == "__main__":
    _main()
