"""The user's own data in one .npz file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distill_worker.data.datasets.archive_of_arrays import Arrays, open_arrays
from distill_worker.data.datasets.dataset import Dataset, Split, split_of, unlabelled
from distill_worker.data.datasets.described import described, described_without_labels
from distill_worker.data.datasets.own_labels import OwnLabels, own_labels
from distill_worker.data.datasets.split_by_key import split_by_key
from distill_worker.errors import DataError

_WITH_SPLIT = ("train_images", "train_labels", "test_images", "test_labels")
_WITHOUT_SPLIT = ("images", "labels")
_WITHOUT_LABELS = ("train_images", "images")


def npz(path: Path) -> Dataset:
    """`train_images`, `train_labels`, `test_images`, `test_labels`; or `images` and `labels`, which are split by key.

    `class_names`, one string a class, is optional. For labels, see `own_labels`. Random crops have a padding of an
    eighth of the side.

    Raises:
        DataError: the file is missing or damaged, or its images and labels do not match.
    """
    where = f"npz: {path}"
    with open_arrays(path, where=where) as arrays:
        train, test, labels = _splits(arrays, where)
        notes = (*arrays.notes, *labels.notes)
    return described(
        "npz",
        train,
        test,
        labels.class_names,
        crop_padding=min(train.images.shape[2:]) // 8,
        horizontal_flip=False,
        every_class=True,
        where=where,
        notes=notes,
    )


def npz_without_labels(path: Path, class_names: tuple[str, ...]) -> Dataset:
    """`train_images`, or `images`; with `test_images` and `test_labels` if there are any. Other labels are not read.

    `class_names` in the file comes before those of the teacher. Random crops have a padding of an eighth of the side.

    Raises:
        DataError: the file is missing or damaged, its images do not match, or it has no images, or both arrays of them.
    """
    where = f"npz: {path}"
    with open_arrays(path, where=where) as arrays:
        given = [name for name in _WITHOUT_LABELS if name in arrays.names]
        if len(given) != 1:
            raise DataError(
                f"{where}: expected either {' or '.join(_WITHOUT_LABELS)}, got {', '.join(arrays.names) or 'nothing'}"
            )
        train = unlabelled(arrays.images(given[0]))
        names = _class_names(arrays, where) or class_names
        test = _test_of(arrays, names, where) if "test_labels" in arrays.names else None
        notes = arrays.notes
    return described_without_labels("npz", train, test, names, horizontal_flip=False, where=where, notes=notes)


def _test_of(arrays: Arrays, class_names: Sequence[str], where: str) -> Split:
    """Of the teacher's classes; it need not have all of them."""
    labels = own_labels({"test_labels": arrays["test_labels"]}, class_names, where=where, has_training=False)
    return split_of(arrays.images("test_images"), labels.parts[0])


def _splits(arrays: Arrays, where: str) -> tuple[Split, Split, OwnLabels]:
    given, bare = set(_WITH_SPLIT) & set(arrays.names), set(_WITHOUT_SPLIT) & set(arrays.names)
    if bool(given) == bool(bare):
        raise DataError(
            f"{where}: expected either {', '.join(_WITH_SPLIT)}, or {' and '.join(_WITHOUT_SPLIT)}, got "
            f"{', '.join(arrays.names) or 'nothing'}"
        )
    if not any(name.endswith("labels") for name in arrays.names):
        raise DataError(
            f"{where}: expected labels, got {', '.join(arrays.names)} alone; for images without labels, set "
            "data.labels = 'none'"
        )
    parts = ("train_labels", "test_labels") if given else ("labels",)
    labels = own_labels({part: arrays[part] for part in parts}, _class_names(arrays, where), where=where)
    if given:
        train, test = (
            split_of(arrays.images(f"{part}_images"), of_part)
            for part, of_part in zip(("train", "test"), labels.parts, strict=True)
        )
    else:
        train, test = split_by_key(arrays.images("images"), labels.parts[0], where=where)
    return train, test, labels


def _class_names(arrays: Arrays, where: str) -> tuple[str, ...] | None:
    if "class_names" not in arrays.names:
        return None
    names = arrays["class_names"]
    if names.ndim != 1 or not np.issubdtype(names.dtype, np.str_):
        raise DataError(f"{where}: class_names: expected strings [classes], got {names.dtype} {list(names.shape)}")
    return tuple(names.tolist()) or None
