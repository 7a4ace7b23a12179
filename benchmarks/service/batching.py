"""How many images a pass should take, and how long an idle model should wait for company: both measured.

`python -m benchmarks.service.batching` runs the bare loop at each pass size, and the service at some pass sizes and
some waits under 32 single images in flight, in turns, and records the medians. What they say is why the defaults are
what they are (`TEACHER_PASS_SIZE`, `TEACHER_BATCH_TIMEOUT_SECONDS`).
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from benchmarks.figures import Figure, figure, write
from benchmarks.service.bare_loop import images_per_second, predictor
from benchmarks.service.load import Load, run_load
from benchmarks.service.processes import running
from benchmarks.service.subjects import oip_binary, service_command
from benchmarks.service.teacher_file import write_teacher

PASS_SIZES = (1, 2, 4, 8, 16, 32, 64)
SERVED_PASS_SIZES = (4, 8, 16, 32, 64)
WAITS_MS = (0.0, 0.5, 2.0, 10.0)
CONCURRENCY = 32
SECONDS = 2.0
ROUNDS = 5


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        weights = write_teacher(Path(folder) / "teacher.safetensors", "resnet20", 3, (32, 32))
        found = [
            *_bare(weights, arguments.seconds, arguments.rounds),
            *_served(weights, Path(folder), arguments.seconds, arguments.rounds),
        ]
    for measured in found:
        print(f"{measured['name']:28}{measured['value']:>8g} images/s ({measured['min']:g}..{measured['max']:g})")
        if arguments.seconds >= SECONDS and arguments.rounds >= ROUNDS:
            write(measured)


def _bare(weights: Path, seconds: float, rounds: int) -> Iterator[Figure]:
    predict = predictor(weights)
    rates: dict[int, list[float]] = {size: [] for size in PASS_SIZES}
    for _ in range(rounds):
        for size, measured in rates.items():
            measured.append(images_per_second(predict, _images(size), seconds / 4, seconds / 16))
    for size, measured in rates.items():
        yield figure("batching", f"bare_loop_pass_{size}", measured, unit="images/s", better="higher")


def _served(weights: Path, folder: Path, seconds: float, rounds: int) -> Iterator[Figure]:
    variants = {f"served_pass_{size}": {"TEACHER_PASS_SIZE": str(size)} for size in SERVED_PASS_SIZES}
    variants |= {f"served_wait_{wait:g}_ms": {"TEACHER_BATCH_TIMEOUT_SECONDS": str(wait / 1000)} for wait in WAITS_MS}
    rates: dict[str, list[float]] = {name: [] for name in variants}
    load = Load(CONCURRENCY, seconds, warm_up_seconds=seconds / 4, key_every=1)
    with ExitStack() as stack:
        servers = {}
        for name, environment in variants.items():
            data = folder / name
            data.mkdir()
            command, key = service_command(name, weights, data)
            servers[name] = stack.enter_context(running(command, data / "service.log", environment)), key
            servers[name][0].sleep()
        for _ in range(rounds):
            for name, (server, key) in servers.items():
                with server.awake():
                    answered = run_load(server.port, oip_binary(_images(1), key), load)
                rates[name].append(answered.requests / answered.seconds)
    for name, measured in rates.items():
        yield figure("batching", name, measured, unit="images/s", better="higher")


def _images(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), np.uint8)


if __name__ == "__main__":
    main()
