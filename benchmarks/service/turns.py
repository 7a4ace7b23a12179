"""What is left of the network's speed beside a thread that always computes in Python, by the interpreter's interval.

`python -m benchmarks.service.turns` runs passes of 16 images in one thread while another counts, at Python's own
interval and at shorter ones, in turns, and records the medians: why the service sets its own (`server.py`).
"""

import sys
import tempfile
from pathlib import Path
from threading import Event, Thread

import numpy as np
import torch

from benchmarks.figures import figure, write
from benchmarks.service.bare_loop import images_per_second, predictor
from benchmarks.service.teacher_file import write_teacher

INTERVALS = (0.005, 0.001, 0.0002, 0.00005, 0.00002)
IMAGES = 16
ROUNDS = 5
SECONDS = 0.5


def main() -> None:
    """Measure, print, record."""
    torch.set_num_threads(1)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 3, 32, 32), np.uint8)
    rates: dict[str, list[float]] = {name: [] for name in ("alone", *(f"{1e6 * each:g}_us" for each in INTERVALS))}
    with tempfile.TemporaryDirectory() as folder:
        predict = predictor(write_teacher(Path(folder) / "teacher.safetensors", "resnet20", 3, (32, 32)))
        for _ in range(ROUNDS):
            rates["alone"].append(images_per_second(predict, images, SECONDS, SECONDS / 4))
            for interval in INTERVALS:
                sys.setswitchinterval(interval)
                stop = Event()
                busy = Thread(target=_count, args=(stop,))
                busy.start()
                rates[f"{1e6 * interval:g}_us"].append(images_per_second(predict, images, SECONDS, SECONDS / 4))
                stop.set()
                busy.join()
    for name, measured in rates.items():
        found = figure("batching", f"beside_a_busy_thread_{name}", measured, unit="images/s", better="higher")
        print(f"{found['name']:36}{found['value']:>8g} images/s ({found['min']:g}..{found['max']:g})")
        write(found)


def _count(stop: Event) -> None:
    number = 0
    while not stop.is_set():
        for _ in range(1000):
            number += 1


if __name__ == "__main__":
    main()
