"""Moving an earlier run's files aside, so that another run may use its directory and nothing is deleted.

    before-1/    the files of the first earlier run, under their own names
    before-2/    those of the next

The folders are inside the run directory: a rename never leaves the file system, even where the directory is a mounted
volume. Saved selections stay where they are.

Invariant: after a kill at any instruction, each file is in one place, whole, and the next process to open the directory
ends the move before it reads anything.
"""

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Final

from shared.atomic_file import flush_folder

UNFINISHED: Final = ".before"
"""The folder that files are moved to. It takes its number when it holds all of them."""


def move_aside(directory: Path, names: Sequence[str]) -> Path:
    """Move these files of a run directory, where they exist, to a new folder in it; returns that folder.

    Raises:
        OSError: a file cannot be moved; the next call of `end_interrupted_move` moves the others.
    """
    (directory / UNFINISHED).mkdir(exist_ok=True)
    return _end(directory, names)


def end_interrupted_move(directory: Path, names: Sequence[str]) -> Path | None:
    """End a move that was interrupted; the folder of the moved files, or None where there was none.

    Raises:
        OSError: as `move_aside`.
    """
    return _end(directory, names) if (directory / UNFINISHED).exists() else None


def _end(directory: Path, names: Sequence[str]) -> Path:
    unfinished = directory / UNFINISHED
    for name in names:
        if (directory / name).exists() and not (unfinished / name).exists():
            (directory / name).rename(unfinished / name)
    flush_folder(unfinished)
    kept = next(path for number in count(1) if not (path := directory / f"before-{number}").exists())
    unfinished.rename(kept)
    flush_folder(directory)
    return kept
