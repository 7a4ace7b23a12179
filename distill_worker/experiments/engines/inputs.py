"""What the students of a task list learn from: one file, which every worker maps into its memory instead of a copy.

The file is in the folder of the comparison, so it needs no space in /dev/shm. It is written and read by processes of
one user, and holds pickled objects.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Final

import torch

from distill_worker.data.datasets.dataset import Dataset
from distill_worker.errors import RunError
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.sampling.targets import Bought

_PREFIX: Final = ".inputs-"


@dataclass(frozen=True)
class Inputs:
    """What a student learns from."""

    samples: Samples
    bought: Bought


@contextmanager
def inputs_file(folder: Path, inputs: Mapping[str, Inputs]) -> Iterator[Path]:
    """A file with these inputs, by name, in `folder`; it is removed at the end.

    A file that a killed process left is removed, too: its owner holds no lock on it any more.

    Raises:
        RunError: the file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        path, file = _new_file(folder)
    except OSError as error:
        raise _not_written(folder, error) from error
    with file:
        try:
            try:
                torch.save(_without_files(inputs), file)
                file.flush()
            except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
                raise _not_written(folder, error) from error
            yield path
        finally:
            with suppress(OSError):
                path.unlink()


@lru_cache(maxsize=1)
def read_inputs(path: Path) -> Mapping[str, Inputs]:
    """The inputs in a file, by name. Their tensors are mapped: processes of one machine share the memory."""
    inputs: Mapping[str, Inputs] = torch.load(path, mmap=True, weights_only=False)
    return inputs


def _without_files(inputs: Mapping[str, Inputs]) -> dict[str, Inputs]:
    """The inputs without the user's own files, which no student needs; samples of one data set still share it."""
    lean: dict[int, Dataset] = {}
    for one in inputs.values():
        dataset = one.samples.dataset
        if id(dataset) not in lean:
            train, test = (replace(split, files=None) for split in (dataset.train, dataset.test))
            lean[id(dataset)] = replace(dataset, train=train, test=test, validation=None)
    shared = {id(one.samples): _with_dataset(one.samples, lean[id(one.samples.dataset)]) for one in inputs.values()}
    return {name: replace(one, samples=shared[id(one.samples)]) for name, one in inputs.items()}


def _with_dataset(samples: Samples, dataset: Dataset) -> Samples:
    return replace(samples, dataset=dataset, precomputed_keys=samples.keys)


def _new_file(folder: Path) -> tuple[Path, BinaryIO]:
    """A new file with its lock. Another process may take it for an abandoned one, until the lock is held."""
    while True:
        path = folder / f"{_PREFIX}{secrets.token_hex(8)}.pt"
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return path, file
        file.close()


def _remove_abandoned(folder: Path) -> None:
    for path in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError), path.open("r+b") as file:  # a lock that is held is an OSError; NFS locks for writers
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _not_written(folder: Path, error: Exception) -> RunError:
    return RunError(
        f"{folder}: cannot write what the students learn from ({_reason(error)}); free some "
        "space, or choose another compare.directory; what was bought is in the cache"
    )


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "the disk may be full"
