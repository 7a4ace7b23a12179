"""Whether the disks have space for what a run writes: an estimate, before anything is written or bought."""

import shutil
from pathlib import Path
from typing import Final

from distill_worker.config.run_config import RunConfig
from distill_worker.errors import CacheError, RunError
from distill_worker.runs.preflight.facts import Lesson, Sale
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.self_training.members import steps_of_member
from distill_worker.runs.tuning.stage import with_most_steps
from distill_worker.training.directory.run_directory import RunDirectory
from distill_worker.training.loop import most_steps

_CACHE_BYTES: Final = 8_000_000
"""An empty database, its write-ahead log at its usual length, and answers in flight."""
_BYTES_A_SAMPLE: Final = 2_000
"""Its key in the cache, in its purchase and in the log, and what frames a kept answer."""
_BYTES_A_VALUE: Final = 32
"""Four in the cache and in the log, and more as the text of an answer that cannot be read and is kept."""
_BYTES_A_PROBABILITY: Final = 4
_MB: Final = 1e6


def check_run_directory(lesson: Lesson) -> None:
    """Raise `RunError` if there is too little space for the student, its checkpoints and the stage before it.

    A student that selects for the next round takes no more.
    """
    config, folder = lesson.run.config, lesson.run.training.output.directory
    if not lesson.run.fresh and RunDirectory(folder).result() is not None:
        return
    needed = space_for_training(config, lesson.run.samples, weights_bytes=lesson.weights_bytes)
    if (free := _free_bytes(folder)) < needed:
        use = "for the student and its checkpoints"
        if config.self_training is not None:
            use = "for the members of an ensemble, the student and their checkpoints ([self_training])"
        raise RunError(f"{folder}: {_too_small(needed, free, use)}")


def check_cache(sale: Sale) -> None:
    """Raise `CacheError` if there is too little space for the outputs that are bought. A server's disk is not read."""
    place = sale.run.config.output.cache
    if not isinstance(place, Path):
        return
    needed = space_for(samples=sale.samples_to_buy, values=sale.values_to_buy)
    if (free := _free_bytes(place)) < needed:
        raise CacheError(f"{place}: {_too_small(needed, free, 'for the outputs to buy')}")


def space_for_training(config: RunConfig, samples: Samples, *, weights_bytes: int) -> int:
    """The bytes that a run directory takes at most, with weights files of this size."""
    config = with_most_steps(config)
    training, settings = config.training, config.self_training
    copies, outputs, steps = 1, 0, most_steps(training, len(samples.images))
    if settings is not None:
        copies += max(settings.members, settings.folds)  # they stay until their outputs are stored
        labelled = 0 if config.track == "queried" else settings.rounds * len(samples.unbought)
        if settings.assistant is not None:
            labelled += 2 * len(samples.unbought) + 4 * len(samples.images)
        outputs = labelled * len(samples.dataset.class_names) * _BYTES_A_PROBABILITY
        steps = max(steps, steps_of_member(config, settings))
    if training.checkpoint_every < steps:
        # Weights, momentum, the best weights so far, the average; the earlier checkpoint stays until the next is whole.
        in_checkpoint = 2 + bool(samples.validation) + (training.averaging != "none")
        copies += 2 * in_checkpoint - 1
        if config.fidelity_folds:
            copies += in_checkpoint  # that of the student stays while one of a fold is written
    return copies * weights_bytes + outputs


def space_for(*, samples: int, values: int) -> int:
    """The bytes that a cache takes at most, while it grows by so many samples with so many values in all."""
    return _CACHE_BYTES + samples * _BYTES_A_SAMPLE + values * _BYTES_A_VALUE


def _free_bytes(path: Path) -> int:
    """The free space where a file or folder is, or will be."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def _too_small(needed: float, free: int, use: str) -> str:
    return f"expected {needed / _MB:.1f} MB of free disk space {use}, got {free / _MB:.1f} MB. Nothing was spent"
