"""What keeping freed memory gains: passes of the model with glibc's own settings and with ours, in turns.

`python -m benchmarks.service.freed_memory` runs passes of each size in two fresh processes, one of which calls
`keep_freed_memory`, and records how many times faster that one is. Seconds are of the processor, not of the clock, so
that a busy machine matters less.
"""

import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from time import thread_time

import numpy as np
import torch

from benchmarks.figures import figure, write
from benchmarks.service.bare_loop import predictor
from benchmarks.service.teacher_file import write_teacher
from teacher_service.models.freed_memory import keep_freed_memory

PASS_SIZES = (1, 16, 64)
ROUNDS = 7
SECONDS = 0.5
_GAIN = "freed_memory_kept_pass_of"
_FAULTS = "page_faults_by_default_pass_of"


def main() -> None:
    """Measure, print, record."""
    for variable in [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]:
        del os.environ[variable]
    with tempfile.TemporaryDirectory() as folder:
        weights = write_teacher(Path(folder) / "teacher.safetensors", "resnet20", 3, (32, 32))
        for size in PASS_SIZES:
            with _worker(size, weights, keeps=False) as default, _worker(size, weights, keeps=True) as ours:
                rounds = [(_measured(default), _measured(ours)) for _ in range(ROUNDS)]
            speed_ups = [before[0] / after[0] for before, after in rounds]
            faults = [before[1] for before, _ in rounds]
            found = (
                figure("service", f"{_GAIN}_{size}", speed_ups, unit="x", better="higher", target=1.0),
                figure("service", f"{_FAULTS}_{size}", faults, unit="faults", better="lower"),
            )
            for each in found:
                print(f"{each['name']:36}{each['value']:>8g} {each['unit']:7}({each['min']:g}..{each['max']:g})")
                write(each)


@contextmanager
def _worker(size: int, weights: Path, *, keeps: bool) -> Iterator[Connection]:
    """A process that runs passes of `size` images whenever it gets a message."""
    context = get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=_work, args=(size, weights, keeps, its))
    process.start()
    try:
        yield ours
    finally:
        ours.send(None)
        process.join()


def _measured(worker: Connection) -> tuple[float, float]:
    worker.send(SECONDS)
    seconds, faults = worker.recv()
    return float(seconds), float(faults)


def _work(size: int, weights: Path, keeps: bool, pipe: Connection) -> None:
    if keeps:
        keep_freed_memory()
    torch.set_num_threads(1)
    images = np.random.default_rng(0).integers(0, 256, (size, 3, 32, 32), np.uint8)
    # In a thread, as in the service: glibc gives a thread an arena of its own.
    thread = Thread(target=_answer, args=(pipe, partial(predictor(weights), images)))
    thread.start()
    thread.join()


def _answer(pipe: Connection, run_pass: Callable[[], object]) -> None:
    """Processor seconds and page faults of a pass, for each message."""
    while (seconds := pipe.recv()) is not None:
        run_pass()
        started, before, passes = thread_time(), _page_faults(), 0
        while thread_time() < started + seconds:
            run_pass()
            passes += 1
        pipe.send(((thread_time() - started) / passes, (_page_faults() - before) / passes))


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt


if __name__ == "__main__":
    main()
