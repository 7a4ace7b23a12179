"""The labels of the user's own arrays and tables: numbers from 0 or from 1, names, or one-hot rows."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill_worker.data.class_names import listed
from distill_worker.data.datasets.arrays import labels_from
from distill_worker.errors import DataError

Labels = NDArray[np.int64]
_INTEGER: Final = re.compile(r"-?(0|[1-9]\d{0,17})")


class OwnLabels(NamedTuple):
    """The labels of all parts of a data set."""

    parts: tuple[Labels, ...]
    """int64 `[samples]` each, from 0."""
    class_names: tuple[str, ...] | None
    """As given, or the labels themselves if they are names."""
    notes: tuple[str, ...] = ()
    """What the user should know of how they were read: a sentence each."""


def own_labels(
    arrays: Mapping[str, NDArray[Any]], class_names: Sequence[str] | None, *, where: str, has_training: bool = True
) -> OwnLabels:
    """The labels of these parts, which are read alike.

    - Integers `[samples]` or `[samples, 1]`: from 0; or from 1, if every number from 1 to the highest is there, 0 is
      not, and the names are as many.
    - Names, strings of the same shape: of `class_names`, or else of the first part, in alphabetical order.
    - One-hot rows `[samples, classes]`: a 1 in each, and otherwise 0.

    Args:
        arrays: as they were stored, by the name of the part, training first.
        class_names: one a class, if the data or the teacher name them.
        where: the start of messages.
        has_training: whether the first part is that of training, which has every class.

    Raises:
        DataError: labels of another kind, or of several kinds.
    """
    given = None if class_names is None else tuple(class_names)
    kinds = {name: _kind(array) for name, array in arrays.items()}
    if len(set(kinds.values())) > 1:
        stated = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
        raise DataError(f"{where}: expected labels of one kind in all parts, got {stated}")
    match next(iter(kinds.values())):
        case "names":
            return _from_names(arrays, given, where)
        case "one-hot rows":
            return _from_rows(arrays, given, where)
    parts = tuple(labels_from(array, where=f"{where}: {name}") for name, array in arrays.items())
    if has_training and _start_at_1(parts, given):
        note = f"{where}: the labels count from 1 to {parts[0].max()}; they are read as 0 to {parts[0].max() - 1}"
        return OwnLabels(tuple(part - 1 for part in parts), given, (note,))
    return OwnLabels(parts, given)


def from_text(labels: Sequence[str], class_names: Sequence[str] | None = None) -> NDArray[Any]:
    """Labels that are written as text: strings if they are names that are given, else integers if each is one."""
    are_names = class_names is not None and set(labels).issubset(class_names)
    is_number = not are_names and all(map(_INTEGER.fullmatch, labels))
    return np.array(labels, np.int64 if is_number else np.str_)


def _kind(array: NDArray[Any]) -> str:
    if array.dtype.kind in "UT":
        return "names"
    if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "biuf" and _is_one_hot(array):
        return "one-hot rows"
    return "numbers"


def _is_one_hot(array: NDArray[Any]) -> bool:
    return bool(((array == 0) | (array == 1)).all() and (np.count_nonzero(array, axis=1) == 1).all())


def _start_at_1(parts: Sequence[Labels], class_names: Sequence[str] | None) -> bool:
    if not all(map(len, parts)) or min(part.min() for part in parts) != 1:
        return False
    highest = int(max(part.max() for part in parts))
    return len(np.unique(parts[0])) == highest and (class_names is None or len(class_names) == highest)


def _from_names(arrays: Mapping[str, NDArray[Any]], class_names: tuple[str, ...] | None, where: str) -> OwnLabels:
    columns: dict[str, list[str]] = {}
    for name, array in arrays.items():
        if array.size != len(array):
            raise DataError(f"{where}: {name}: expected one name a sample, got strings {list(array.shape)}")
        columns[name] = [str(label) for label in array.reshape(-1)]
    names = class_names or tuple(sorted(set(next(iter(columns.values())))))
    place_of = {name: place for place, name in enumerate(names)}
    for part, labels in columns.items():
        if others := sorted(set(labels).difference(place_of)):
            raise DataError(
                f"{where}: {part}: expected names of classes, which are {listed(names)}, got {listed(tuple(others))}"
            )
    parts = (np.array([place_of[label] for label in labels], np.int64) for labels in columns.values())
    return OwnLabels(tuple(parts), names)


def _from_rows(arrays: Mapping[str, NDArray[Any]], class_names: tuple[str, ...] | None, where: str) -> OwnLabels:
    widths = {name: array.shape[1] for name, array in arrays.items()}
    if len(set(widths.values())) > 1:
        stated = ", ".join(f"{width} in {name}" for name, width in widths.items())
        raise DataError(f"{where}: expected one-hot rows of one length, got {stated}")
    return OwnLabels(tuple(array.argmax(1).astype(np.int64) for array in arrays.values()), class_names)
