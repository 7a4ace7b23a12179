"""What decoding costs once, and opening costs afterwards: 50,000 JPEGs of 500 x 375, mapped at 224 x 224.

`python -m benchmarks.decoding FOLDER` writes the JPEGs into FOLDER, if they are absent: 1.2 GB, and 7.5 GB of pixels.
It decodes 1,000 of them by one thread and by all; then the first command, which decodes all, and later ones, each in a
process of its own: their time for the data, without imports, and their peak memory. A later command selects at random,
so it needs sample keys alone.
A short look (fewer images) is printed and not recorded.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from benchmarks.figures import figure, write
from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.data.cores import cores
from distill_worker.data.pictures.conversion import Shape
from distill_worker.data.pictures.reading import PictureFiles, read_pictures
from distill_worker.runs.sampling.samples import Samples

IMAGES, THREADED, RUNS = 50_000, 1_000, 3
N, SIZE = 500, (224, 224)
_PHOTO = (500, 375)
_MEGABYTES = 1 / 1024
Result = TypeVar("Result")


def write_photo(place: tuple[str, int]) -> None:
    """Write one JPEG of soft coloured noise, another for each number."""
    folder, number = place
    coarse = np.random.default_rng(number).integers(0, 256, (9, 12, 3), np.uint8)
    content = BytesIO()
    Image.fromarray(coarse).resize(_PHOTO, Image.Resampling.BICUBIC).save(content, format="JPEG", quality=90)
    (Path(folder) / f"{number:06}.jpg").write_bytes(content.getvalue())


def write_photos(folder: Path, count: int) -> None:
    """Write those that are absent."""
    folder.mkdir(parents=True, exist_ok=True)
    absent = [(str(folder), number) for number in range(count) if not (folder / f"{number:06}.jpg").exists()]
    with ProcessPoolExecutor() as pool:
        list(pool.map(write_photo, absent, chunksize=64))


def config_of(folder: Path, size: tuple[int, int] | None = SIZE) -> RunConfig:
    """A run on the photos, with random samples; resized, if they differ from that size."""
    return parse_config(
        {
            "data": {
                "name": "image-folder",
                "path": str(folder / "photos"),
                "store": str(folder / "decoded"),
                **({} if size is None else {"image_size": list(size)}),
                "labels": "none",
                "class_names": ["cat", "dog"],
            },
            "student": {"network": "torchvision:resnet18"},
            "method": {"name": "kd"},
            "budget": {"n": N, "strategy": "random"},
            "output": {"directory": str(folder / "run"), "cache": str(folder / "cache.sqlite")},
        },
        source="benchmark",
    )


def opening(folder: Path, size: tuple[int, int] | None = SIZE) -> tuple[float, float]:
    """Seconds for the data and the choice of n samples, and the peak of the process's memory in MB."""
    config = config_of(folder, size)
    started = time.perf_counter()
    samples = Samples.of(config)
    seconds = time.perf_counter() - started
    if len(samples.images) + len(samples.held_out.keys if samples.held_out else ()) != N:
        raise RuntimeError(f"expected {N} samples, got {len(samples.images)}")
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MEGABYTES


def rate(folder: Path, threads: int) -> float:
    """Images a second of decoding into memory."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    pictures = PictureFiles([str(path) for path in sorted((folder / "photos").glob("*.jpg"))[:THREADED]])
    started = time.perf_counter()
    read_pictures(pictures, Shape("RGB", *SIZE), where="benchmark")
    return len(pictures) / (time.perf_counter() - started)


def alone(function: Callable[..., Result], *arguments: object) -> Result:
    """What a function returns in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def options_of(arguments: Sequence[str] | None, description: str | None, images: int) -> argparse.Namespace:
    """The folder, and the number of images: all, or fewer for a short look."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=images)
    return parser.parse_args(arguments)


def report(figures: Sequence[dict[str, Any]], *, is_recorded: bool) -> None:
    """Print figures, and record them if they are whole."""
    for found in figures:
        if is_recorded:
            write(found)
        print(f"{found['name']:32} {found['value']:10g} {found['unit']}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments, measure, report."""
    options = options_of(arguments, __doc__, IMAGES)
    folder: Path = options.folder / str(options.images)
    write_photos(folder / "photos", options.images)
    pairs = [(alone(rate, folder, 1), alone(rate, folder, cores())) for _ in range(RUNS)]
    shutil.rmtree(folder / "decoded", ignore_errors=True)
    first = alone(opening, folder)
    later = [alone(opening, folder) for _ in range(RUNS)]
    figures = [
        figure(
            "decoding", "threads_speedup", [many / one for one, many in pairs], unit="x", better="higher", target=1.7
        ),
        figure("decoding", "one_thread", [one for one, _ in pairs], unit="images/s", better="higher"),
        figure("decoding", "first_command", [options.images / first[0]], unit="images/s", better="higher"),
        figure("decoding", "first_command_memory", [first[1]], unit="MB", better="lower", target=2000),
        figure("decoding", "later_command", [seconds for seconds, _ in later], unit="s", better="lower", target=3),
        figure("decoding", "later_command_memory", [memory for _, memory in later], unit="MB", better="lower"),
    ]
    report(figures, is_recorded=options.images >= IMAGES)


if __name__ == "__main__":
    main()
