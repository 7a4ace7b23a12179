"""The names of a model's classes, in the order of its logits: from a file, a list, or a published data set."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from shared.networks.imagenet import imagenet_classes

IMAGENET: Final = "imagenet"
_MOST_LISTED: Final = 3


def class_names(text: str) -> tuple[str, ...]:
    """The names that an option states.

    Args:
        text: `imagenet`, the path of a text file with one name a line, or names separated by commas.

    Raises:
        ValueError: it is none of these, or the file cannot be read or has an empty line between names.
    """
    if text == IMAGENET:
        return imagenet_classes()
    path = Path(text).expanduser()
    if path.is_file():
        return _in_file(path)
    if "," in text:
        return tuple(name.strip() for name in text.split(","))
    raise ValueError(
        f"class_names: expected a file with one name a line, names separated by commas, or {IMAGENET}, got {text!r}, "
        "and there is no file of this name"
    )


def numbered(classes: int) -> tuple[str, ...]:
    """The names of classes that nobody named: 0, 1, 2, ..., which stand for their order alone."""
    return tuple(map(str, range(classes)))


def remarks(names: Sequence[str]) -> Iterator[str]:
    """What looks wrong about the names but need not be."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        listed = ", ".join(map(repr, repeated[:_MOST_LISTED])) + (" and others" if len(repeated) > _MOST_LISTED else "")
        yield f"class_names: {listed}: more than one class has this name, so that clients cannot map them by name"


def _in_file(path: Path) -> tuple[str, ...]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"class_names: expected a UTF-8 text file, got {path}, which cannot be read ({error})"
        ) from error
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines or not lines:
        where = f"line {lines.index('') + 1} is empty" if lines else "the file is empty"
        raise ValueError(f"class_names: expected one name a line in {path}, got a file in which {where}")
    return tuple(lines)
