"""Several students on one device, a process each."""

import multiprocessing
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Final

import torch

from benchmarks.gpu.subjects import Variant, bare_step, wait_for

_WARM_UP: Final = 10
_START_SECONDS: Final = 120
_STEPS_BETWEEN_LOOKS: Final = 5


def steps_a_second(device: torch.device, variant: Variant, count: int, *, images: int, seconds: float) -> float:
    """The steps of `count` students together, a second, measured for `seconds` after all of them are warm.

    Each step passes `images` through the student.

    Raises:
        queue.Empty: a process did not end.
    """
    context = multiprocessing.get_context("spawn")
    rates: Queue[float] = context.Queue()
    together = context.Barrier(count)
    processes = [
        context.Process(target=_train, args=(str(device), variant, images, seconds, together, rates))
        for _ in range(count)
    ]
    for process in processes:
        process.start()
    try:
        return sum(rates.get(timeout=_START_SECONDS + seconds) for _ in processes)
    finally:
        for process in processes:
            process.join(timeout=10)
            process.kill()


def _train(
    device_name: str, variant: Variant, images: int, seconds: float, together: Barrier, rates: "Queue[float]"
) -> None:
    torch.set_num_threads(1)
    device = torch.device(device_name)
    step = bare_step(device, variant, images=images)
    for _ in range(_WARM_UP):
        step()
    wait_for(device)
    together.wait(timeout=_START_SECONDS)
    started = time.perf_counter()
    taken = 0
    while time.perf_counter() - started < seconds:
        for _ in range(_STEPS_BETWEEN_LOOKS):
            step()
        wait_for(device)
        taken += _STEPS_BETWEEN_LOOKS
    rates.put(taken / (time.perf_counter() - started))
