"""Tiny ImageNet, as its public archive unpacks."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from distill_worker.data.datasets.class_folders import ClassFolders, class_folders
from distill_worker.data.datasets.dataset import Dataset, split_of
from distill_worker.data.datasets.described import described
from distill_worker.data.pictures.conversion import Shape
from distill_worker.data.pictures.reading import PictureFiles, read_in_parts
from distill_worker.data.pictures.rules import FIRST
from distill_worker.errors import DataError

_FOLDER = "tiny-imagenet-200"
_SIZE = (64, 64)
_NEEDED = ("wnids.txt", "words.txt", "train", "val/images", "val/val_annotations.txt")


def tiny_imagenet(root: Path, image_size: tuple[int, int] | None) -> Dataset:
    """100,000 training images of 64x64 in 200 classes (Le and Yang 2015, Stanford CS231n).

    The published validation images are the test split, because the test images have no labels. Classes are in the order
    of their WordNet ids, as in a folder of folders. Grey images are converted to colour.

    Raises:
        DataError: files are missing, damaged, or do not belong together.
    """
    folder = root / _FOLDER
    where = f"tiny-imagenet: {folder}"
    if absent := [name for name in _NEEDED if not (folder / name).exists()]:
        raise DataError(
            f"{where}: expected {', '.join(_NEEDED)}; absent: {', '.join(absent)}; on a machine with internet, run: "
            f"curl -LO http://cs231n.stanford.edu/{_FOLDER}.zip && unzip -q {_FOLDER}.zip -d '{root}'"
        )
    wnids = tuple(sorted(" ".join(line) for line in _table(folder / "wnids.txt", where)))
    train = class_folders(folder / "train", FIRST, where=where)
    if train.class_names != wnids:
        differing = sorted(set(wnids) ^ set(train.class_names))
        raise DataError(f"{where}: expected in train the classes of wnids.txt, got only in one: {', '.join(differing)}")
    shape = Shape("RGB", *(image_size or _SIZE))
    parts = (train, _annotated(folder / "val", wnids, where))
    pixels = read_in_parts([part.pictures for part in parts], shape, where=where)
    splits = [split_of(images, part.labels) for images, part in zip(pixels, parts, strict=True)]
    return described(
        "tiny-imagenet",
        splits[0],
        splits[1],
        _class_names(folder / "words.txt", wnids, where),
        crop_padding=min(shape.height, shape.width) // 8,
        horizontal_flip=True,
        every_class=True,
        where=where,
    )


def _annotated(folder: Path, wnids: tuple[str, ...], where: str) -> ClassFolders:
    """The files of `val_annotations.txt`: file name, WordNet id, and the bounding box, which is not used."""
    names, labels = [], []
    for line in _table(folder / "val_annotations.txt", where):
        if len(line) < 2 or line[1] not in wnids:
            raise DataError(
                f"{where}: val_annotations.txt: expected a file and one of wnids.txt, got {' '.join(line)!r}"
            )
        names.append(line[0])
        labels.append(wnids.index(line[1]))
    pictures = PictureFiles([str(folder / "images" / name) for name in names], FIRST)
    return ClassFolders(wnids, pictures, np.array(labels, dtype=np.int64), Counter())


def _class_names(file: Path, wnids: tuple[str, ...], where: str) -> list[str]:
    """The first of WordNet's words for each class; the id if the file has none."""
    words: Mapping[str, str] = {line[0]: line[1].split(",")[0] for line in _table(file, where) if len(line) > 1}
    return [words.get(wnid, wnid) for wnid in wnids]


def _table(file: Path, where: str) -> list[list[str]]:
    try:
        return [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: cannot read {file.name} ({error}); unpack the archive again") from error
