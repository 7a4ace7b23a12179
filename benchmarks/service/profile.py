"""Where a request for one image spends its time: what the service's own log says, beside what the client sees.

`python -m benchmarks.service.profile` asks the service with and without its ledger, in turns, for one image at a time,
alone and with 32 in flight, and prints and records the medians: the model's pass that the image was part of, its wait
for that pass, the rest of the service (HTTP's body, decoding, the ledger, encoding), and what is outside (HTTP's head,
sockets, the client). Then it prints the steps of one image at a time, from a service with a clock at each hand-over
(`traced`).
"""

import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.figures import figure, write
from benchmarks.service.load import Load, run_load
from benchmarks.service.processes import running
from benchmarks.service.subjects import OURS, Images, oip_binary, service_command
from benchmarks.service.teacher_file import write_teacher

NAMES = ("uncounted", "counted")
CONCURRENCIES = (1, 32)
ROUNDS = 5
SECONDS = 2.0
PARTS = ("compute", "queue", "service", "outside")


def main() -> None:
    """Measure, print, record."""
    found: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        weights = write_teacher(Path(folder) / "teacher.safetensors", "resnet20", 3, (32, 32))
        image = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32), np.uint8)
        servers = {}
        for name in NAMES:
            data = Path(folder) / name
            data.mkdir()
            command, key = service_command(name, weights, data)
            environment = {**OURS, "TEACHER_LOG_FORMAT": "json"}
            servers[name] = stack.enter_context(running(command, data / "service.log", environment)), key, data
            servers[name][0].sleep()
        for _ in range(ROUNDS):
            for name, (server, key, data) in servers.items():
                for concurrency in CONCURRENCIES:
                    seen = (data / "service.log").stat().st_size
                    load = Load(concurrency, SECONDS, warm_up_seconds=SECONDS / 4, key_every=1)
                    with server.awake():
                        answered = run_load(server.port, oip_binary(image, key), load)
                    lines = (data / "service.log").read_bytes()[seen:].splitlines()
                    for part, milliseconds in _parts(lines, answered.p50_ms).items():
                        found[name, concurrency, part].append(milliseconds)
        steps = _steps(weights, Path(folder) / "traced", image)
    print(f"{'milliseconds, median':24}" + "".join(f"{part:>10}" for part in PARTS))
    for name in NAMES:
        for concurrency in CONCURRENCIES:
            measured = [
                figure("service", f"profile_{name}_c{concurrency}_{part}", values, unit="ms", better="lower")
                for part in PARTS
                if (values := found[name, concurrency, part])
            ]
            print(f"{name + f', {concurrency} in flight':24}" + "".join(f"{each['value']:>10g}" for each in measured))
            for each in measured:
                write(each)
    print(f"\n{'milliseconds, median; counted, 1 in flight':50}")
    for step, seconds in steps.items():
        print(f"{step:50}{1000 * statistics.median(seconds):>10.3f}")


def _steps(weights: Path, data: Path, image: Images) -> Mapping[str, Sequence[float]]:
    """Seconds of each step, of every request of a load."""
    data.mkdir()
    command, key = service_command("traced", weights, data)
    log = data / "service.log"
    with running(command, log, OURS) as server:
        run_load(server.port, oip_binary(image, key), Load(1, SECONDS, warm_up_seconds=SECONDS / 4, key_every=1))
    steps: Mapping[str, Sequence[float]] = json.loads(log.read_bytes().splitlines()[-1])
    return steps


def _parts(lines: Sequence[bytes], client_ms: float) -> Mapping[str, float]:
    """Medians of the queries that were computed; the start's lines are no JSON of ours."""
    queries = [json.loads(line) for line in lines if b'"outcome": "answered"' in line]
    compute, queue, total = (
        statistics.median(query[f"{part}_ms"] for query in queries) for part in ("compute", "queue", "total")
    )
    return {"compute": compute, "queue": queue, "service": total - compute - queue, "outside": client_ms - total}


if __name__ == "__main__":
    main()
