"""The last step of every reader: check the splits, and compute the statistics of the pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from distill_worker.data.datasets.dataset import Dataset, Split
from distill_worker.errors import DataError


def described(
    name: str,
    train: Split,
    test: Split,
    class_names: Sequence[str] | None,
    *,
    crop_padding: int,
    horizontal_flip: bool,
    validation: Split | None = None,
    every_class: bool = False,
    where: str | None = None,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """A data set with the mean and the standard deviation of its training pixels, to four digits.

    A channel that is the same everywhere gets the deviation 1, so that it can be normalised.

    Args:
        name: as in `data.name`.
        train: samples to query and to learn from.
        test: samples to measure on; images of the same shape.
        class_names: one for each label, 0 first; None for the numbers from 0 to the highest label.
        crop_padding: pixels, unless a run says otherwise.
        horizontal_flip: unless a run says otherwise.
        validation: samples set aside by the data set's makers.
        every_class: whether each class must have a training sample. A user's own labels may have gaps, which would
            train meaningless outputs.
        where: the start of messages; by default the name.
        notes: what the user should know of how the data were read.

    Raises:
        DataError: a part is empty, its images and labels do not go together, there are fewer than two classes,
            or a class has no training sample.
    """
    where = where or name
    parts = {"training": train, "test": test} | ({} if validation is None else {"validation": validation})
    names = tuple(_numbers(*parts.values(), where=where) if class_names is None else class_names)
    for part, split in parts.items():
        _check(split, f"{where}: {part}", classes=len(names), shape=train.images.shape[1:])
    if len(names) < 2:
        hint = "; for images without labels, set data.labels = 'none'" if every_class else ""
        raise DataError(f"{where}: expected at least 2 classes, got {len(names)}{hint}")
    if every_class:
        _check_every_class(train, names, where)
    mean, std = _statistics(train)
    return Dataset(
        name,
        train,
        test,
        names,
        mean,
        std,
        crop_padding,
        horizontal_flip,
        validation,
        classes_are_named=class_names is not None,
        notes=notes,
    )


def _numbers(*splits: Split, where: str) -> tuple[str, ...]:
    """The numbers from 0 to the highest label.

    Raises:
        DataError: there are more numbers than samples, so some class has no sample.
    """
    labels = torch.cat([split.needed_labels for split in splits])
    classes = int(labels.max()) + 1 if len(labels) else 0
    if classes > len(labels):
        raise DataError(
            f"{where}: expected classes numbered from 0 without gaps, got label {classes - 1} and {len(labels)} samples"
        )
    return tuple(str(label) for label in range(classes))


def _check_every_class(train: Split, class_names: Sequence[str], where: str) -> None:
    counts = torch.bincount(train.needed_labels, minlength=len(class_names)).tolist()
    if missing := [name for name, count in zip(class_names, counts, strict=True) if count == 0]:
        raise DataError(
            f"{where}: expected training samples of every class, got none of {', '.join(missing[:10])}"
            f"{' and others' if len(missing) > 10 else ''}; add some, or number the classes from 0 without gaps"
        )


def _check(split: Split, where: str, *, classes: int, shape: Sequence[int]) -> None:
    images, labels = split.images, split.needed_labels
    if len(images) != len(labels):
        raise DataError(
            f"{where}: expected a label for each image, got {len(images)} images but {len(labels)} labels; the files "
            "are damaged or do not belong together: replace them"
        )
    if len(images) == 0:
        raise DataError(f"{where}: expected samples, got none")
    if images.shape[1:] != shape:
        raise DataError(
            f"{where}: expected images of shape {list(shape)}, as in training, got {list(images.shape[1:])}"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(f"{where}: expected labels from 0 to {classes - 1}, got {low} to {high}")


def described_without_labels(
    name: str,
    train: Split,
    test: Split | None,
    class_names: Sequence[str],
    *,
    horizontal_flip: bool,
    where: str,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """A data set whose training samples have no labels, as `described` describes one with labels.

    Args:
        name: as in `data.name`.
        train: samples to query and to learn from, without labels.
        test: samples with labels to measure on, if there are any; images of the same shape.
        class_names: of the teacher, in its order.
        horizontal_flip: unless a run says otherwise.
        where: the start of messages.
        notes: what the user should know of how the data were read.

    Raises:
        DataError: there are no training samples, no class names, or the test samples do not fit.
    """
    if not len(train.images):
        raise DataError(f"{where}: training: expected samples, got none")
    if len(class_names) < 2:
        raise DataError(
            f"{where}: expected the teacher's classes, at least 2, because the images have no labels, got "
            f"{len(class_names)}; list their names in data.class_names, in the teacher's order"
        )
    if test is not None:
        _check(test, f"{where}: test", classes=len(class_names), shape=train.images.shape[1:])
    mean, std = _statistics(train)
    return Dataset(
        name,
        train,
        Split(train.images[:0], None) if test is None else test,
        tuple(class_names),
        mean,
        std,
        min(train.images.shape[2:]) // 8,
        horizontal_flip,
        notes=notes,
    )


def _statistics(split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """From sums of integers, without a floating-point copy of the images."""
    values, squares = _sums(split.images) if split.stored is None else torch.from_numpy(split.stored.sums)
    pixels = split.images.shape[0] * split.images.shape[2] * split.images.shape[3]
    centre = values.to(torch.float64) / (255 * pixels)
    spread = (squares.to(torch.float64) / (255**2 * pixels) - centre.square()).clamp(min=0).sqrt()
    mean, std = (tuple(round(float(value), 4) for value in part) for part in (centre, spread))
    return mean, tuple(value or 1.0 for value in std)


def _sums(images: Tensor) -> Tensor:
    """int64 `[2, channels]`: the sums of the values and of their squares, from the counts of the 256 values."""
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)])
    levels = torch.arange(256)
    return torch.stack([counts @ levels, counts @ levels.square()])
