"""Image files in one folder for each class. No file is skipped without being counted, except hidden ones."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from distill_worker.data.pictures.reading import PictureFiles
from distill_worker.data.pictures.rules import EXTENSIONS, NEWEST, Rules
from distill_worker.errors import DataError

_MADE_BY_TOOLS: Final = (
    "Thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "__MACOSX",
    "__pycache__",
    "@eaDir",
    "lost+found",
    "$RECYCLE.BIN",
    "System Volume Information",
)
"""What archives, programs and file systems leave, beside names with a dot in front (`.DS_Store`)."""
_UPWARDS: Final = "leading back to a folder above"
_NOT_REGULAR: Final = "being pipes or devices"


@dataclass(frozen=True)
class ClassFolders:
    """Pictures and their labels, not yet decoded."""

    class_names: tuple[str, ...]
    """In alphabetical order."""
    pictures: PictureFiles
    labels: NDArray[np.int64]
    skipped: Counter[str]
    """The number of files that are not read, by file name extension."""


def class_folders(folder: Path, rules: Rules, *, where: str) -> ClassFolders:
    """`<class>/*`, or deeper. Files without an image's file name extension are skipped; hidden ones are ignored.

    Raises:
        DataError: the folder has no subfolders, or one of them has no image files.
    """
    expected = f"{where}: expected a folder of image files for each class in {folder}"
    try:
        classes = shown_folders(folder)
        beside = [entry.suffix.lower() for entry in folder.iterdir() if entry.is_file() and _is_shown(entry.name)]
    except OSError as error:
        raise DataError(f"{expected} ({error})") from error
    if not classes:
        raise DataError(f"{expected}, got no folders; for images without labels, set data.labels = 'none'")
    skipped = Counter(f"{suffix} beside the class folders" for suffix in beside if suffix in EXTENSIONS[rules])
    files: list[list[str]] = []
    for entry in classes:
        paths, others = image_files(entry, rules)
        files.append(paths)
        skipped.update(others)
    if empty := [entry.name for entry, paths in zip(classes, files, strict=True) if not paths]:
        without = f" ({skipped_files(skipped)})" if skipped else ""
        raise DataError(f"{expected}, got no image files in {', '.join(empty)}{without}")
    return ClassFolders(
        tuple(entry.name for entry in classes),
        PictureFiles([path for paths in files for path in paths], rules),
        np.repeat(np.arange(len(files), dtype=np.int64), [len(paths) for paths in files]),
        skipped,
    )


def image_files(folder: Path, rules: Rules = NEWEST) -> tuple[list[str], Counter[str]]:
    """The paths of the image files in a folder and in the folders below it, and the number of other files by extension.

    A link to a folder above is not followed, and counts as one other file. Hidden files and folders, and those that
    tools leave, count as neither. Paths are strings: there may be millions.
    """
    paths = list[str]()
    skipped = Counter[str]()
    for place, names in _shown_files(folder, skipped):
        for name in names:
            _, dot, last = name.rpartition(".")
            extension = dot + last.lower()
            if dot and extension in EXTENSIONS[rules]:
                paths.append(place + name)
            else:
                skipped[extension if dot and last else name] += 1
    return paths, skipped


def shown_folders(folder: Path) -> list[Path]:
    """The folders in a folder, in the order of their names, without hidden ones and those that tools leave."""
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and _is_shown(entry.name))


def skipped_files(skipped: Counter[str]) -> str:
    """What was skipped, as a sentence for users."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(skipped.items()))
    return f"skipped files that are not read: {kinds}; convert pictures to PNG or JPEG"


def _shown_files(folder: Path, skipped: Counter[str]) -> Iterator[tuple[str, list[str]]]:
    """The names of the files below a folder that are not hidden, by their folders in order, each with a separator.

    Links are followed, except those that lead back to a folder on the way. These are counted in `skipped`, as are pipes
    and devices, from which a read may never return.
    """
    tree: list[tuple[str, list[str]]] = []
    waiting = [(str(folder), _folders_above(folder))]
    while waiting:
        place, above = waiting.pop()
        try:
            here = _identity(place)
            if here in above:
                skipped[_UPWARDS] += 1
                continue
            with os.scandir(place) as entries:
                shown = [entry for entry in entries if _is_shown(entry.name)]
        except OSError:
            continue
        names: list[str] = []
        for entry in shown:
            if _is(entry.is_dir):
                waiting.append((entry.path, above | {here}))
            elif _is(entry.is_file) or not Path(entry.path).exists():  # a broken link is reported when it is read
                names.append(entry.name)
            else:
                skipped[_NOT_REGULAR] += 1
        tree.append((place, sorted(names)))
    return ((os.path.join(place, ""), names) for place, names in sorted(tree))  # noqa: PTH118


def _folders_above(folder: Path) -> frozenset[tuple[int, int]]:
    """The folders that a folder lies in, by its path as it is given and by the one without links."""
    above = set[tuple[int, int]]()
    for parent in {*folder.absolute().parents, *folder.resolve().parents}:
        with suppress(OSError):
            above.add(_identity(parent))
    return frozenset(above)


def _identity(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116 - as of a link's target
    return status.st_dev, status.st_ino


def _is(kind: Callable[[], bool]) -> bool:
    """Whether an entry is of a kind; a link that leads to itself is of none."""
    try:
        return kind()
    except OSError:
        return False


def _is_shown(name: str) -> bool:
    return not name.startswith(".") and name not in _MADE_BY_TOOLS
