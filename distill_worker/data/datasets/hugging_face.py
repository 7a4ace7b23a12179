"""Tables of Hugging Face: a folder that its library wrote with `save_to_disk`, or Parquet files as its hub has them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from distill_worker.data.class_names import listed
from distill_worker.data.datasets.arrays import labels_from
from distill_worker.data.datasets.dataset import Dataset, split_of, unlabelled
from distill_worker.data.datasets.described import described, described_without_labels
from distill_worker.data.datasets.opening import Opening
from distill_worker.data.datasets.own_labels import OwnLabels, own_labels
from distill_worker.data.datasets.parquet import EXTENSION as PARQUET
from distill_worker.data.datasets.parquet import tables_of_parquet
from distill_worker.data.datasets.parts import files_in
from distill_worker.data.datasets.split_by_key import split_by_key
from distill_worker.data.pictures.reading import Picture, common_shape, first_keys, read_in_parts
from distill_worker.data.pictures.rules import Rules
from distill_worker.errors import DataError

_SAVED: Final = ("dataset_info.json", "dataset_dict.json", "state.json")
"""Files of which `save_to_disk` writes at least one."""
_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")
_TEST_PARTS = ("test", "validation", "valid", "val")


def hugging_face(opening: Opening) -> Dataset:
    """`train` with `test`, or else `validation`; or one table, which is split by key.

    The files of a table in Parquet begin with its name (`train-00000-of-00004.parquet`), or their folder has it.

    The column of images is called image or img; that of labels label, labels or fine_label. Nothing is downloaded.
    The classes are those of `train`; if the other table lists them in another order, its labels are mapped by name.
    Random crops have a padding of an eighth of the side; images are not flipped.

    Raises:
        DataError: the library is not installed, the folder does not hold images with labels, or the tables have
            different classes.
    """
    path, image_size = opening.path, opening.image_size
    where = f"hugging-face: {path}"
    library = _library(where)
    tables = _tables(library, path, where)
    class_names = _class_names(tables[0], where)
    pictures = [_pictures(library, table, opening.rules, where) for table in tables]
    labels = _labels_of(tables, class_names, where)
    of_all = [picture for of_table in pictures for picture in of_table]
    shape = common_shape(of_all, image_size, where=where)
    read = list(zip(read_in_parts(pictures, shape, where=where), labels.parts, pictures, strict=True))
    train, test = split_by_key(*read[0], where=where) if len(read) == 1 else (split_of(*part) for part in read)
    find = partial(first_keys, among=of_all, image_size=image_size, where=where)
    return described(
        "hugging-face",
        replace(train, find_first_keys=find),
        replace(test, find_first_keys=find),
        labels.class_names,
        crop_padding=min(shape.height, shape.width) // 8,
        horizontal_flip=False,
        every_class=True,
        where=where,
        notes=(*_notes(tables, where), *labels.notes),
    )


def hugging_face_without_labels(opening: Opening, class_names: tuple[str, ...]) -> Dataset:
    """`train`, or the one table; of its columns only that of images is read. Other tables are not read.

    Random crops have a padding of an eighth of the side; images are not flipped.

    Raises:
        DataError: the library is not installed, or the folder does not hold images.
    """
    path, image_size = opening.path, opening.image_size
    where = f"hugging-face: {path}"
    library = _library(where)
    stored = _stored(library, path, where)
    if isinstance(stored, dict) and "train" not in stored:
        raise DataError(f"{where}: expected a table train, got {', '.join(stored)}")
    pictures = _pictures(library, stored["train"] if isinstance(stored, dict) else stored, opening.rules, where)
    shape = common_shape(pictures, image_size, where=where)
    train = replace(
        unlabelled(read_in_parts([pictures], shape, where=where)[0], pictures),
        find_first_keys=partial(first_keys, among=pictures, image_size=image_size, where=where),
    )
    return described_without_labels("hugging-face", train, None, class_names, horizontal_flip=False, where=where)


def _notes(tables: Sequence[Any], where: str) -> tuple[str, ...]:
    if len({bool(_class_names(table, where)) for table in tables}) == 1:
        return ()
    return (f"{where}: only one of the two tables names its classes, so their labels are compared by number",)


def _library(where: str) -> Any:
    try:
        return import_module("datasets")
    except ModuleNotFoundError as error:
        raise DataError(
            f"{where}: expected the library datasets, got no such module; run: uv pip install 'tuition[hugging-face]'"
        ) from error


def _stored(library: Any, path: Path, where: str) -> Any:
    """One table, or several by name."""
    if path.suffix == PARQUET or (path.is_dir() and not is_saved(path) and files_in(path, PARQUET)):
        return tables_of_parquet(library, path, images=_IMAGE_COLUMNS, where=where)
    if not path.is_dir():
        raise DataError(
            f"{where}: expected a folder or a {PARQUET} file, got {'another file' if path.exists() else 'neither'}"
        )
    try:
        return library.load_from_disk(str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where}: expected a folder from datasets' save_to_disk ({error}); save it again") from error


def is_saved(path: Path) -> bool:
    """Whether `save_to_disk` wrote the folder."""
    return any((path / name).exists() for name in _SAVED)


def _tables(library: Any, path: Path, where: str) -> list[Any]:
    """Training and test, or the one table to split."""
    stored = _stored(library, path, where)
    if not isinstance(stored, dict):
        return [stored]
    test = next((part for part in _TEST_PARTS if part in stored), None)
    if "train" not in stored or test is None:
        raise DataError(f"{where}: expected train and one of {', '.join(_TEST_PARTS)}, got {', '.join(stored)}")
    return [stored["train"], stored[test]]


def _column(table: Any, names: Sequence[str], where: str) -> str:
    columns = [name for name in names if name in table.column_names]
    if len(columns) != 1:
        raise DataError(f"{where}: expected one column of {', '.join(names)}, got {', '.join(table.column_names)}")
    return columns[0]


def _pictures(library: Any, table: Any, rules: Rules, where: str) -> list[Picture]:
    name = _column(table, _IMAGE_COLUMNS, where)
    if not isinstance(table.features[name], library.Image):
        raise DataError(f"{where}: {name}: expected a column of type Image, got {table.features[name]}; cast it")
    encoded = table.select_columns([name]).cast_column(name, library.Image(decode=False))
    return [Picture(f"{name} {row}", partial(_encoded, encoded, row, name), rules=rules) for row in range(len(encoded))]


def _encoded(table: Any, row: int, name: str) -> IO[bytes]:
    """The picture of a row: its bytes, or the file that it names."""
    cell = table[row][name]
    if cell is None:
        raise ValueError("the cell is empty")
    return BytesIO(cell["bytes"]) if cell["bytes"] is not None else Path(cell["path"]).open("rb")


def _labels_of(tables: Sequence[Any], class_names: tuple[str, ...], where: str) -> OwnLabels:
    if class_names:
        return OwnLabels(tuple(_labels(table, class_names, where) for table in tables), class_names)
    columns = [_column(table, _LABEL_COLUMNS, where) for table in tables]
    parts = ("train", "test")
    names = columns if len(tables) == 1 else [f"{part}: {name}" for part, name in zip(parts, columns, strict=True)]
    values = (_values(table, column, where) for table, column in zip(tables, columns, strict=True))
    return own_labels(dict(zip(names, values, strict=True)), None, where=where)


def _values(table: Any, name: str, where: str) -> NDArray[Any]:
    try:
        return np.array(table[name][:])
    except ValueError as error:
        raise DataError(f"{where}: {name}: expected one label a row, got lists of different lengths") from error


def _labels(table: Any, class_names: tuple[str, ...], where: str) -> NDArray[np.int64]:
    """The labels of a table as positions in `class_names`, which are those of the training table."""
    name = _column(table, _LABEL_COLUMNS, where)
    labels = labels_from(_values(table, name, where), where=f"{where}: {name}")
    own_names = _class_names(table, where)
    if own_names in ((), class_names):
        return labels
    if others := [own for own in own_names if own not in class_names]:
        raise DataError(
            f"{where}: {name}: expected the same classes in both tables, got {listed(class_names)} in train and "
            f"{listed(own_names)} in the other; only there: {listed(others)}. Rename or remove them, and save it again"
        )
    if len(labels) and labels.max() >= len(own_names):
        raise DataError(f"{where}: {name}: expected labels from 0 to {len(own_names) - 1}, got {labels.max()}")
    mapped: NDArray[np.int64] = np.array([class_names.index(own) for own in own_names], np.int64)[labels]
    return mapped


def _class_names(table: Any, where: str) -> tuple[str, ...]:
    """The class names of a table; empty if it has none."""
    return tuple(getattr(table.features[_column(table, _LABEL_COLUMNS, where)], "names", None) or ())
