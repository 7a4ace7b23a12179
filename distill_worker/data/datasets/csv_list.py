"""A CSV file that lists image files, with their labels and parts if it has them."""

import csv
from collections.abc import Mapping, Sequence
from contextlib import suppress
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


def is_csv(path: Path) -> bool:
    """Whether a file is such a list, and no plain list of images under this extension. Raises `OSError`."""
    if path.suffix.lower() != EXTENSION or not path.is_file():
        return False
    first = _first_line(path)
    return not (len(first) == 1 and (path.parent / first[0].strip()).is_file())


def has_labels(path: Path) -> bool:
    """Whether the file's first line names a column of labels. Raises `OSError`."""
    return _column(_first_line(path), _LABEL) is not None


def _first_line(path: Path) -> list[str]:
    """The values of the first line that is not empty; none if the file has none, or no CSV."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file, suppress(csv.Error):
        return next((line for line in csv.reader(file) if line), [])
    return []


def csv_parts(path: Path, *, where: str) -> list[CsvPart]:
    """The training and the test part, or all files if no column names their parts.

    The first line names the columns: path (or file, filename, file_name, image); label (or class, class_name); split
    (or part). Other columns are not read. Paths start at the folder of the file.

    Raises:
        DataError: a line is damaged, a file does not exist, or a column or part is absent.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, line) for line in reader if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where}: expected a CSV file in UTF-8, with commas between its columns ({error})") from error
    head, rows = (lines[0][1] if lines else []), lines[1:]
    place = _column(head, _PATH)
    if place is None:
        raise DataError(
            f"{where}: expected a first line that names the columns, one of them {' or '.join(_PATH)}, got "
            f"{', '.join(head) or 'an empty file'}"
        )
    if not rows:
        raise DataError(f"{where}: expected a line for each image, got only the names of the columns")
    if short := [number for number, row in rows if len(row) != len(head)]:
        raise DataError(
            f"{where}: expected {len(head)} values in each line, as in the first, got others in line "
            f"{', '.join(map(str, short[:_MOST_NAMED]))}"
        )
    paths = [str(path.parent / row[place].strip()) for _, row in rows]
    if absent := [one for one in paths if not Path(one).is_file()]:
        raise DataError(
            f"{where}: expected the path of an image file in each line, got {len(absent):,} of {len(paths):,} that do "
            f"not exist: {', '.join(absent[:_MOST_NAMED])}"
        )
    return _parts(head, rows, paths, where)


def csv_labels(parts: Sequence[CsvPart], class_names: Sequence[str] | None, *, where: str) -> OwnLabels:
    """The labels of these parts. Raises `DataError`."""
    if not parts[0].labels:
        remedy = "set data.labels = 'none'" if class_names is None else "leave out the lines of the test part"
        raise DataError(
            f"{where}: expected a column {' or '.join(_LABEL)}, got none; for images without labels, {remedy}"
        )
    names = ("label",) if len(parts) == 1 else ("the labels of train", "the labels of test")
    arrays = {name: from_text(part.labels, class_names) for name, part in zip(names, parts, strict=True)}
    return own_labels(arrays, class_names, where=where, has_training=class_names is None)


def _parts(
    head: Sequence[str], rows: Sequence[tuple[int, Sequence[str]]], paths: Sequence[str], where: str
) -> list[CsvPart]:
    label, part = _column(head, _LABEL), _column(head, _PART)
    if label is not None and (empty := [number for number, row in rows if not row[label].strip()]):
        raise DataError(
            f"{where}: expected a label in each line, got none in line {', '.join(map(str, empty[:_MOST_NAMED]))}"
        )
    by_part: dict[str, CsvPart] = {}
    for (_, row), one in zip(rows, paths, strict=True):
        listed = by_part.setdefault("" if part is None else row[part].strip().lower(), CsvPart([], []))
        listed.paths.append(one)
        if label is not None:
            listed.labels.append(row[label].strip())
    return train_and_test(by_part, where=where)


def _column(head: Sequence[str], names: Sequence[str]) -> int | None:
    """The place of the column of the first of these names that is there."""
    places: Mapping[str, int] = {name.strip().lower(): place for place, name in enumerate(head)}
    return next((places[name] for name in names if name in places), None)
