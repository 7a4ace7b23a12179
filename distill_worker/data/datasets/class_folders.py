"""Image files in one folder for each class, listed by torchvision."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill_worker.data.datasets.pictures import Picture
from distill_worker.errors import DataError


@dataclass(frozen=True)
class ClassFolders:
    """Pictures and their labels, not yet decoded."""

    class_names: tuple[str, ...]
    """In alphabetical order."""
    pictures: list[Picture]
    labels: NDArray[np.int64]


def class_folders(folder: Path, *, where: str) -> ClassFolders:
    """`<class>/*`, or deeper. Files without an image's file name extension are skipped.

    Raises:
        DataError: the folder has no subfolders, or one of them has no image files.
    """
    from torchvision.datasets import ImageFolder  # slow to import

    try:
        listed = ImageFolder(str(folder))
    except OSError as error:
        raise DataError(f"{where}: expected a folder of image files for each class in {folder} ({error})") from error
    return ClassFolders(
        tuple(listed.classes),
        [picture_at(Path(path)) for path, _ in listed.samples],
        np.array(listed.targets, dtype=np.int64),
    )


def picture_at(path: Path) -> Picture:
    """The picture in a file."""
    return Picture(str(path), lambda: path.open("rb"))
