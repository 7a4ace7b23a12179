"""Public archives, read by torchvision without any download."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from distill_worker.errors import DataError

# The errors that torchvision's readers raise for damaged files.
_UNREADABLE = (
    RuntimeError, OSError, ValueError, AssertionError, KeyError, TypeError, EOFError, pickle.UnpicklingError,
)  # fmt: skip


def read_parts(
    name: str, root: Path, files: Sequence[str], parts: Sequence[Callable[[], Any]], *, remedy: str
) -> list[Any]:
    """Read the parts of an archive.

    Args:
        name: the start of messages.
        root: the folder that `files` are relative to.
        files: all that has to be there.
        parts: each reads one part with torchvision.
        remedy: how to get the files.

    Raises:
        DataError: names the expected files, those that are absent or the fault, and the remedy.
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
    """The remedy: the command that downloads the files by this class of torchvision, with these arguments."""
    code = f"from torchvision.datasets import {class_name}; {class_name}({arguments}, download=True)"
    return f'on a machine with internet, run: python -c "{code}"'


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
