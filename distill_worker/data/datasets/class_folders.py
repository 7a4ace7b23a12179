"""Image files in one folder for each class. No file is skipped without being counted, except hidden ones."""

import os
from collections import Counter
from collections.abc import Iterator
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

    Hidden files and folders, and those that tools leave, count as neither. Paths are strings: there may be millions.
    """
    paths = list[str]()
    skipped = Counter[str]()
    for place, names in _shown_files(folder):
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


def _shown_files(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The names of the files below a folder that are not hidden, by their folders in order, each with a separator."""
    tree: list[tuple[str, list[str]]] = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = filter(_is_shown, folders)
        tree.append((place, sorted(filter(_is_shown, names))))
    return ((os.path.join(place, ""), names) for place, names in sorted(tree))  # noqa: PTH118


def _is_shown(name: str) -> bool:
    return not name.startswith(".") and name not in _MADE_BY_TOOLS
