"""The user's own image files at a glance: how many there are, of which sizes and classes. No pixels are decoded."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from distill_worker.data.datasets.class_folders import class_folders
from distill_worker.data.datasets.csv_list import csv_labels, csv_parts, is_csv
from distill_worker.data.datasets.image_folder import part_folders
from distill_worker.data.datasets.opening import Opening
from distill_worker.data.datasets.unlabelled_images import pictures_without_labels
from distill_worker.data.pictures.reading import PictureFiles, heads
from distill_worker.data.pictures.rules import NEWEST

_LOOKED_AT: Final = 200
"""Images whose heads are read; there may be hundreds of thousands."""


@dataclass(frozen=True)
class Glance:
    """What a look at image files shows."""

    images: int
    """In training and, if they are apart, in test."""
    sizes: tuple[tuple[int, int], ...]
    """Heights and widths among the images that were looked at, the most frequent first."""
    channels: int
    class_names: tuple[str, ...] | None
    """None if the images have no labels."""


def glance(path: Path, *, has_labels: bool) -> Glance:
    """Look at the data of `image-folder`.

    Raises:
        DataError: there are no images, or those that are looked at cannot be read.
    """
    where = f"image-folder: {path}"
    paths, class_names = _labelled(path, where) if has_labels else (_without_labels(path, where), None)
    every = max(1, len(paths) // _LOOKED_AT)
    seen = heads(PictureFiles([*paths[::every]][:_LOOKED_AT], NEWEST), where=where)
    sizes = Counter(head.size for head in seen)
    return Glance(
        len(paths),
        tuple(size for size, _ in sizes.most_common()),
        1 if all(head.is_grey for head in seen) else 3,
        class_names,
    )


def _without_labels(path: Path, where: str) -> Sequence[str]:
    if is_csv(path):
        return [file for part in csv_parts(path, where=where) for file in part.paths]
    return pictures_without_labels(Opening(path), where)[0].paths


def _labelled(path: Path, where: str) -> tuple[Sequence[str], tuple[str, ...]]:
    if is_csv(path):
        listed = csv_parts(path, where=where)
        labels = csv_labels(listed, None, where=where)
        highest = max(int(part.max()) for part in labels.parts)
        names = tuple(labels.class_names or map(str, range(highest + 1)))
        return [file for part in listed for file in part.paths], names
    parts = [class_folders(folder, NEWEST, where=where) for folder in part_folders(path, where)]
    return [file for part in parts for file in part.pictures.paths], parts[0].class_names
