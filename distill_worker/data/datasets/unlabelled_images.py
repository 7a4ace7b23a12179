"""The user's own image files without labels: a folder of any shape, or a list of files."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from distill_worker.data.datasets.class_folders import (
    ClassFolders,
    class_folders,
    image_files,
    shown_folders,
    skipped_files,
)
from distill_worker.data.datasets.csv_list import csv_labels, csv_parts, is_csv
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.data.datasets.described import described_without_labels
from distill_worker.data.datasets.opening import Opening
from distill_worker.data.datasets.own_files import readable, splits_of
from distill_worker.data.pictures.reading import PictureFiles
from distill_worker.errors import DataError

_TEST: Final = "test"
"""The folder of labelled test images, in any case."""


def unlabelled_images(opening: Opening, class_names: tuple[str, ...]) -> Dataset:
    """All image files in a folder and in the folders below it; or those that a text file lists, one path a line, or a
    CSV file: see `csv_parts`.

    Paths in a list start at its folder. A folder `test` with a folder for each class holds the test images; its classes
    are classes of the teacher, by name. Every other folder is part of the training set, and its name means nothing.
    Files without an image's file name extension are skipped and counted; hidden files and folders are ignored.
    Random crops have a padding of an eighth of the side; images are flipped.

    Raises:
        DataError: the folder or list is missing or has no images, a file is no image, or a test class is none of the
            teacher's.
    """
    path = opening.path
    where = f"image-folder: {path}"
    test = _test_part(opening, class_names, where)
    if is_csv(path):
        return _in_csv(opening, class_names, where)
    pictures, skipped = pictures_without_labels(opening, where)
    tested = [] if test is None else [(test.pictures, _labels_among(test, class_names))]
    parts, notes = readable([(pictures, None), *tested], opening, where=where)
    train, *others = splits_of(parts, opening, where=where)
    return described_without_labels(
        "image-folder",
        train,
        others[0] if others else None,
        class_names,
        horizontal_flip=True,
        where=where,
        notes=(*notes, f"{where}: {skipped_files(skipped)}") if skipped else notes,
    )


def pictures_without_labels(opening: Opening, where: str) -> tuple[PictureFiles, Counter[str]]:
    """The training images of a folder or of a plain list, and the files that are skipped. Raises `DataError`."""
    return _listed(opening, where) if opening.path.is_file() else _found(opening, where)


def _in_csv(opening: Opening, class_names: tuple[str, ...], where: str) -> Dataset:
    """The files that a CSV file lists. Those of a test part keep their labels, which are names of the teacher's."""
    listed = csv_parts(opening.path, where=where)
    pictures = [PictureFiles(part.paths, opening.rules) for part in listed]
    tested = [
        (files, csv_labels([part], class_names, where=where).parts[0])
        for files, part in zip(pictures[1:], listed[1:], strict=True)
    ]
    parts, notes = readable([(pictures[0], None), *tested], opening, where=where)
    train, *others = splits_of(parts, opening, where=where)
    test = others[0] if others else None
    return described_without_labels(
        "image-folder", train, test, class_names, horizontal_flip=True, where=where, notes=notes
    )


def _test_folder(path: Path) -> Path | None:
    """The folder of the test images, if there is one."""
    folders = shown_folders(path) if path.is_dir() else []
    return next((folder for folder in folders if folder.name.lower() == _TEST and shown_folders(folder)), None)


def _test_part(opening: Opening, class_names: Sequence[str], where: str) -> ClassFolders | None:
    folder = _test_folder(opening.path)
    if folder is None:
        return None
    part = class_folders(folder, opening.rules, where=where)
    if others := [name for name in part.class_names if name not in class_names]:
        raise DataError(
            f"{where}: expected a folder in {folder} for each class, with the name that the teacher gives it, got "
            f"{', '.join(others[:10])}; the teacher's classes are {', '.join(class_names[:10])}"
            f"{' and others' if len(class_names) > 10 else ''}"
        )
    return part


def _labels_among(part: ClassFolders, class_names: Sequence[str]) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.array([class_names.index(name) for name in part.class_names], np.int64)[part.labels]


def _found(opening: Opening, where: str) -> tuple[PictureFiles, Counter[str]]:
    path, rules = opening.path, opening.rules
    if not path.is_dir():
        raise DataError(f"{where}: expected a folder of images, or a text file that lists them, got neither")
    test = _test_folder(path)
    paths, skipped = image_files(path, rules)
    if test is not None:
        paths = [one for one in paths if not one.startswith(f"{test}{os.sep}")]
        skipped -= image_files(test, rules)[1]
    if not paths:
        without = f" ({skipped_files(skipped)})" if skipped else ""
        raise DataError(f"{where}: expected image files, got none{without}")
    return PictureFiles(paths, rules), skipped


def _listed(opening: Opening, where: str) -> tuple[PictureFiles, Counter[str]]:
    path = opening.path
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{where}: expected a folder of images, or a text file in UTF-8 with the path of an image in each line "
            f"({error})"
        ) from error
    paths = [path.parent / line for line in lines if line]
    if absent := [str(one) for one in paths if not one.is_file()]:
        raise DataError(
            f"{where}: expected the path of an image file in each line, got {len(absent)} of {len(paths)} that do not "
            f"exist: {', '.join(absent[:5])}"
        )
    if not paths:
        raise DataError(f"{where}: expected the path of an image in each line, got an empty file")
    return PictureFiles([str(one) for one in paths], opening.rules), Counter()
