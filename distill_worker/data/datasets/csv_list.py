"""A CSV file that lists image files, with their labels and parts if it has them."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from distill_worker.data.datasets.own_labels import OwnLabels, from_text, own_labels
from distill_worker.data.datasets.parts import train_and_test
from distill_worker.errors import DataError

EXTENSION: Final = ".csv"
_PATH: Final = ("path", "file", "filename", "file_name", "image")
_LABEL: Final = ("label", "class", "class_name")
_PART: Final = ("split", "part")
_MOST_NAMED: Final = 5


@dataclass(frozen=True)
class CsvPart:
    """The files of one part, in the order of their lines."""

    paths: list[str]
    labels: list[str]
    """As they are written; empty if the file has no column of labels."""


def has_labels(path: Path) -> bool:
    """Whether the file's first line names a column of labels. Raises `OSError`."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return _column(next(csv.reader(file), []), _LABEL) is not None


def csv_parts(path: Path, *, where: str) -> list[CsvPart]:
    """The training and the test part, or all files if no column names their parts.

    The first line names the columns: path (or file, filename, file_name, image); label (or class, class_name); split
    (or part). Other columns are not read. Paths start at the folder of the file.

    Raises:
        DataError: a line is damaged, a file does not exist, or a column or part is absent.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file, strict=True) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where}: expected a CSV file in UTF-8, with commas between its columns ({error})") from error
    head, *rows = lines or [[]]
    place = _column(head, _PATH)
    if place is None:
        raise DataError(
            f"{where}: expected a first line that names the columns, one of them {' or '.join(_PATH)}, got "
            f"{', '.join(head) or 'an empty file'}"
        )
    if not rows:
        raise DataError(f"{where}: expected a line for each image, got only the names of the columns")
    if short := [number for number, row in enumerate(rows, 2) if len(row) != len(head)]:
        raise DataError(
            f"{where}: expected {len(head)} values in each line, as in the first, got others in line "
            f"{', '.join(map(str, short[:_MOST_NAMED]))}"
        )
    paths = [str(path.parent / row[place].strip()) for row in rows]
    if absent := [one for one in paths if not Path(one).is_file()]:
        raise DataError(
            f"{where}: expected the path of an image file in each line, got {len(absent):,} of {len(paths):,} that do "
            f"not exist: {', '.join(absent[:_MOST_NAMED])}"
        )
    return _parts(head, rows, paths, where)


def csv_labels(parts: Sequence[CsvPart], class_names: Sequence[str] | None, *, where: str) -> OwnLabels:
    """The labels of these parts. Raises `DataError`."""
    if not parts[0].labels:
        raise DataError(
            f"{where}: expected a column {' or '.join(_LABEL)}, got none; for images without labels, set data.labels = "
            "'none'"
        )
    names = ("label",) if len(parts) == 1 else ("the labels of train", "the labels of test")
    arrays = {name: from_text(part.labels) for name, part in zip(names, parts, strict=True)}
    return own_labels(arrays, class_names, where=where, has_training=class_names is None)


def _parts(head: Sequence[str], rows: Sequence[Sequence[str]], paths: Sequence[str], where: str) -> list[CsvPart]:
    label, part = _column(head, _LABEL), _column(head, _PART)
    if label is not None and (empty := [number for number, row in enumerate(rows, 2) if not row[label].strip()]):
        raise DataError(
            f"{where}: expected a label in each line, got none in line {', '.join(map(str, empty[:_MOST_NAMED]))}"
        )
    by_part: dict[str, CsvPart] = {}
    for row, one in zip(rows, paths, strict=True):
        listed = by_part.setdefault("" if part is None else row[part].strip().lower(), CsvPart([], []))
        listed.paths.append(one)
        if label is not None:
            listed.labels.append(row[label].strip())
    return train_and_test(by_part, where=where)


def _column(head: Sequence[str], names: Sequence[str]) -> int | None:
    """The place of the column of the first of these names that is there."""
    places: Mapping[str, int] = {name.strip().lower(): place for place, name in enumerate(head)}
    return next((places[name] for name in names if name in places), None)
