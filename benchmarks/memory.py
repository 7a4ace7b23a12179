"""Whether the service's memory grows with the requests that it has answered.

`python -m benchmarks.memory` sends 200,000 small requests, every tenth with an Idempotency-Key of its own, to a real
service process with its default settings, and reads its resident memory as it goes. The first tenth warms up: what is
recorded is the growth from there to the end. A short look (fewer requests) is printed and not recorded.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.figures import figure, write
from benchmarks.service.load import Load, run_load
from benchmarks.service.processes import running
from benchmarks.service.subjects import oip_binary, service_command
from benchmarks.service.teacher_file import write_teacher

REQUESTS = 200_000
CONCURRENCY = 32
KEY_EVERY = 10
SAMPLES = 50
"""How often the memory is read; the first tenth is the warm-up."""
_NO_BOUND_SECONDS = 600.0


def measure(folder: Path, requests: int) -> Iterator[tuple[float, float]]:
    """Resident MiB, and requests a second since the last time, after each of `SAMPLES` parts of so many requests."""
    weights = write_teacher(folder / "teacher.safetensors", "resnet8", 3, (8, 8))
    command, key = service_command("counted", weights, folder)
    request = oip_binary(np.zeros((1, 3, 8, 8), np.uint8), key)
    load = Load(CONCURRENCY, _NO_BOUND_SECONDS, requests=requests // SAMPLES, key_every=KEY_EVERY)
    with running(command, folder / "service.log") as server:
        for _ in range(SAMPLES):
            answered = run_load(server.port, request, load)
            yield server.resident_mebibytes(), answered.requests / answered.seconds


def main() -> None:
    """Read the arguments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    requests = max(SAMPLES * CONCURRENCY, parser.parse_args().requests)
    resident, rates = [], []
    with tempfile.TemporaryDirectory() as folder:
        for mebibytes, rate in measure(Path(folder), requests):
            resident.append(mebibytes)
            rates.append(rate)
            if len(resident) % (SAMPLES // 10) == 0:
                done = len(resident) * (requests // SAMPLES)
                print(
                    f"{done:>9,} requests: {mebibytes:7.1f} MiB, {statistics.median(rates):.0f} requests/s", flush=True
                )
        ledger_bytes = sum(file.stat().st_size for file in Path(folder).glob("ledger.sqlite*"))
    warm = resident[SAMPLES // 10 - 1]
    growth = figure("service", "memory_growth", [resident[-1] - warm], unit="MiB", better="lower")
    figures = [growth, figure("service", "small_requests", rates, unit="1/s", better="higher")]
    if requests >= REQUESTS:
        for found in figures:
            write(found)
    print(
        f"memory: {warm:.1f} MiB after {requests // 10:,} requests, {resident[-1]:.1f} MiB after {requests:,}, "
        f"growth {growth['value']:g} MiB; {figures[1]['value']:g} requests/s; "
        f"the ledger took {ledger_bytes / requests:.0f} bytes a request"
    )


if __name__ == "__main__":
    main()
