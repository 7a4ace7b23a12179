"""The training and the test part of data that come in several files, by the names of these."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

from distill_worker.errors import DataError

Content = TypeVar("Content")

TRAIN_PARTS: Final = ("train", "training")
TEST_PARTS: Final = ("test", "testing", "val", "valid", "validation")
"""The names of the parts, in any case; of several test parts the first counts."""
_SEPARATORS: Final = "-_."


def shards(path: Path, extension: str, *, where: str) -> list[list[Path]]:
    """The files of the training part and of the test part, in the order of their names; or those of the one part.

    A file belongs to the part that its name begins with, as in `train-00000-of-00004`, or else its folder's name.

    Args:
        path: a file, or a folder with files in it or below it.
        extension: of the files, with its dot.
        where: the start of messages.

    Raises:
        DataError: there are no such files, or they are of other parts.
    """
    if path.is_file():
        return [[path]]
    by_part: dict[str, list[Path]] = {}
    for file in files_in(path, extension):
        folder = "" if file.parent == path else file.parent.name.lower()
        by_part.setdefault(_part_of(file.name) or _as_part(folder), []).append(file)
    if not by_part:
        raise DataError(f"{where}: expected a file or a folder with files *{extension}, got none")
    return train_and_test(by_part, where=where)


def files_in(path: Path, extension: str) -> list[Path]:
    """The files with this extension in a folder and in the folders below it, without hidden ones, by name."""
    found = path.rglob(f"*{extension}")
    return sorted(file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts))


def train_and_test(by_part: Mapping[str, Content], *, where: str) -> list[Content]:
    """What belongs to training and to test; or to the one part.

    Args:
        by_part: by the name of the part in small letters, which is empty where nothing names one.
        where: the start of messages.

    Raises:
        DataError: the names are not those of one training and one test part.
    """
    if len(by_part) == 1 and not set(by_part).issubset(TEST_PARTS):
        return [*by_part.values()]
    train = [by_part[name] for name in TRAIN_PARTS if name in by_part]
    test = [by_part[name] for name in TEST_PARTS if name in by_part]
    others = set(by_part).difference(TRAIN_PARTS, TEST_PARTS)
    if len(train) != 1 or not test or others:
        got = ", ".join(name or "files of no part" for name in by_part)
        raise DataError(f"{where}: expected the parts train and test (or validation), or one part alone, got {got}")
    return [train[0], test[0]]


def _part_of(name: str) -> str:
    head = name.lower()
    for separator in _SEPARATORS:
        head = head.partition(separator)[0]
    return _as_part(head)


def _as_part(name: str) -> str:
    return name if name in TRAIN_PARTS + TEST_PARTS else ""
