"""The user's own image files, one folder for each class."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from distill_worker.data.datasets.class_folders import ClassFolders, class_folders, shown_folders, skipped_files
from distill_worker.data.datasets.csv_list import csv_labels, csv_parts, is_csv
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.data.datasets.described import described
from distill_worker.data.datasets.opening import Opening
from distill_worker.data.datasets.own_files import Labels, readable, split_in_two, splits_of
from distill_worker.data.datasets.parts import TEST_PARTS, TRAIN_PARTS
from distill_worker.data.pictures.reading import PictureFiles
from distill_worker.errors import DataError

_WORDS_OF_PARTS: Final = (*TRAIN_PARTS, *TEST_PARTS, "dev", "eval")
"""Words in the names of folders that are probably parts."""


def image_folder(opening: Opening) -> Dataset:
    """`train/<class>/*` with `test/<class>/*`, or else `val`; or `<class>/*`, which is split by key;
    or the files that a CSV file lists: see `csv_parts`, and `own_labels` for its labels.

    The parts may also be called training, testing, valid or validation, in any case. Classes are in alphabetical order.
    Files without an image's file name extension are skipped and counted; hidden files and folders are ignored.
    Random crops have a padding of an eighth of the side; images are flipped.

    Raises:
        DataError: a folder is missing or has no images, the classes differ, or a file is no image.
    """
    path = opening.path
    where = f"image-folder: {path}"
    if is_csv(path):
        return _listed(opening, where)
    if not path.is_dir():
        raise DataError(f"{where}: expected a folder, got {'a file' if path.exists() else 'no folder'}")
    parts = [class_folders(folder, opening.rules, where=where) for folder in part_folders(path, where)]
    _check_same_classes(parts, where)
    skipped = sum((part.skipped for part in parts), Counter[str]())
    return _labelled(
        [(part.pictures, part.labels) for part in parts],
        parts[0].class_names,
        opening,
        where=where,
        notes=(f"{where}: {skipped_files(skipped)}",) if skipped else (),
    )


def _listed(opening: Opening, where: str) -> Dataset:
    """The files that a CSV file lists."""
    parts = csv_parts(opening.path, where=where)
    labels = csv_labels(parts, None, where=where)
    pictures = [PictureFiles(part.paths, opening.rules) for part in parts]
    return _labelled(
        list(zip(pictures, labels.parts, strict=True)), labels.class_names, opening, where=where, notes=labels.notes
    )


def _labelled(
    parts: Sequence[tuple[PictureFiles, Labels]],
    class_names: Sequence[str] | None,
    opening: Opening,
    *,
    where: str,
    notes: tuple[str, ...],
) -> Dataset:
    read, about_unreadable = readable(parts, opening, where=where)
    if len(read) == 1:
        pictures, labels = read[0]
        train, test = split_in_two(pictures, parts[0][1] if labels is None else labels, opening, where=where)
    else:
        train, test = splits_of(read, opening, where=where)
    return described(
        "image-folder",
        train,
        test,
        class_names,
        crop_padding=min(train.images.shape[2:]) // 8,
        horizontal_flip=True,
        every_class=True,
        where=where,
        notes=(*about_unreadable, *notes),
    )


def part_folders(path: Path, where: str) -> list[Path]:
    """The training and the test folder, or the one folder to split.

    A class may be called `train` or `test`: only a folder with folders in it is a part.
    """
    parts = [entry for entry in shown_folders(path) if shown_folders(entry)]
    train = [entry for entry in parts if entry.name.lower() in TRAIN_PARTS]
    test = next((same for name in TEST_PARTS if (same := _called(name, parts))), [])
    if not train and not test and not _are_parts(parts):
        return [path]
    if len(train) != 1 or len(test) != 1:
        raise DataError(
            f"{where}: expected train and test or val (or training, testing, valid, validation), each once and with a "
            f"folder for each class, or the classes' folders themselves, got only "
            f"{' and '.join(entry.name for entry in ((*train, *test) or parts))}; for images without labels, set "
            'data.labels = "none"'
        )
    return [train[0], test[0]]


def _are_parts(folders: list[Path]) -> bool:
    """Whether folders seem to be parts under other names: they hold folders of the same names."""
    inside = {tuple(folder.name for folder in shown_folders(part)) for part in folders}
    words = {word for folder in folders for word in re.split(r"[^a-z]+", folder.name.lower())}
    return len(folders) > 1 and len(inside) == 1 and not words.isdisjoint(_WORDS_OF_PARTS)


def _called(name: str, folders: list[Path]) -> list[Path]:
    return [folder for folder in folders if folder.name.lower() == name]


def _check_same_classes(parts: list[ClassFolders], where: str) -> None:
    first, last = set(parts[0].class_names), set(parts[-1].class_names)
    if first != last:
        raise DataError(
            f"{where}: expected the same classes in training and test, got only in one of them: "
            f"{', '.join(sorted(first ^ last))}"
        )
