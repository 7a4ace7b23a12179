"""Whether the disks have space for what a run writes: an estimate, before anything is written or bought."""

import shutil
from pathlib import Path
from typing import Final

from distill_worker.errors import CacheError, RunError
from distill_worker.runs.preflight.facts import Lesson, Sale
from distill_worker.runs.tuning.stage import with_most_steps
from distill_worker.training.loop import most_steps
from distill_worker.training.run_directory import RunDirectory

_CACHE_BYTES: Final = 8_000_000
"""An empty database, its write-ahead log at its usual length, and answers in flight."""
_BYTES_A_SAMPLE: Final = 2_000
"""Its key in the cache, in its purchase and in the log, and what frames a kept answer."""
_BYTES_A_VALUE: Final = 32
"""Four in the cache and in the log, and more as the text of an answer that cannot be read and is kept."""
_MB: Final = 1e6


def check_run_directory(lesson: Lesson) -> None:
    """Raise `RunError` if there is too little space for the student and its checkpoints."""
    folder = lesson.run.training.output.directory
    if not lesson.run.fresh and RunDirectory(folder).result() is not None:
        return
    training, samples = with_most_steps(lesson.run.training).training, lesson.run.samples
    copies = 1
    if training.checkpoint_every < most_steps(training, len(samples.images)):
        # Weights, momentum, the best weights so far, the average; the earlier checkpoint stays until the next is whole.
        copies = 2 * (2 + bool(samples.validation) + (training.averaging != "none"))
    settings = lesson.run.training.self_training
    if settings is not None:  # until the outputs of an ensemble are stored, its members are
        copies += settings.members
    needed = copies * lesson.weights_bytes
    if (free := _free_bytes(folder)) < needed:
        raise RunError(f"{folder}: {_too_small(needed, free, 'for the student and its checkpoints')}")


def check_cache(sale: Sale) -> None:
    """Raise `CacheError` if there is too little space for the outputs that are bought. A server's disk is not read."""
    place = sale.run.config.output.cache
    if not isinstance(place, Path):
        return
    needed = space_for(samples=sale.samples_to_buy, values=sale.values_to_buy)
    if (free := _free_bytes(place)) < needed:
        raise CacheError(f"{place}: {_too_small(needed, free, 'for the outputs to buy')}")


def space_for(*, samples: int, values: int) -> int:
    """The bytes that a cache takes at most, while it grows by so many samples with so many values in all."""
    return _CACHE_BYTES + samples * _BYTES_A_SAMPLE + values * _BYTES_A_VALUE


def _free_bytes(path: Path) -> int:
    """The free space where a file or folder is, or will be."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def _too_small(needed: float, free: int, use: str) -> str:
    return f"expected {needed / _MB:.1f} MB of free disk space {use}, got {free / _MB:.1f} MB. Nothing was spent"
