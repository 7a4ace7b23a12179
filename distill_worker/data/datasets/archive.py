"""Reading a public archive through torchvision, which never downloads here."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from distill_worker.errors import DataError

# What torchvision's readers raise for files that are damaged in one way or another.
_UNREADABLE = (
    RuntimeError, OSError, ValueError, AssertionError, KeyError, TypeError, EOFError, pickle.UnpicklingError,
)  # fmt: skip


def read_parts(
    name: str, root: Path, files: Sequence[str], parts: Sequence[Callable[[], Any]], *, remedy: str
) -> list[Any]:
    """Read the parts of an archive.

    Args:
        name: how messages begin.
        root: the folder that `files` are relative to.
        files: all that has to be there.
        parts: each reads one part with torchvision.
        remedy: how to get the files.

    Raises:
        DataError: says which files were looked for, which are absent or what is wrong, and the remedy.
    """
    try:
        absent = [file for file in files if not (root / file).is_file()]
        if not absent:
            return [part() for part in parts]
    except _UNREADABLE as error:
        raise DataError(
            f"{name}: no readable files under {root} ({_first_line(error)}): expected {', '.join(files)} as they were "
            f"published; remove what is damaged, and {remedy}"
        ) from error
    raise DataError(
        f"{name}: no readable files under {root}: expected {', '.join(files)}; absent: {', '.join(absent)}; {remedy}"
    )


def download_with(class_name: str, arguments: str) -> str:
    """The remedy where torchvision downloads by this class, called with these arguments."""
    code = f"from torchvision.datasets import {class_name}; {class_name}({arguments}, download=True)"
    return f'on a machine with internet, run: python -c "{code}"'


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
