"""Labels in every form that is clear, and errors for the others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from distill_worker.data.datasets import load_dataset
from distill_worker.data.datasets.own_labels import own_labels
from distill_worker.errors import DataError
from tests.distill_worker.data.datasets.array_kinds import IMAGES, LABELS, ArrayKind, array_kinds


@pytest.mark.parametrize("kind", array_kinds(), ids=lambda kind: kind.name)
def test_kind_of_array_becomes_what_is_said(kind: ArrayKind, tmp_path: Path) -> None:
    training = {"train_images": IMAGES, "train_labels": LABELS, **kind.arrays}
    tests = {name.replace("train", "test"): array for name, array in training.items()}
    arrays: dict[str, Any] = training | tests
    np.savez(tmp_path / "own.npz", **arrays)
    if kind.error is not None:
        with pytest.raises(DataError, match=kind.error):
            load_dataset("npz", tmp_path, path=tmp_path / "own.npz")
        return
    dataset = load_dataset("npz", tmp_path, path=tmp_path / "own.npz")
    expected = LABELS if kind.labels is None else kind.labels
    for split in (dataset.train, dataset.test):
        assert np.array_equal(split.images, np.moveaxis(IMAGES, -1, 1))
        assert np.array_equal(split.needed_labels, expected)
    assert ("a line says so" in kind.becomes) == bool(dataset.notes)


@pytest.mark.parametrize(
    ("labels", "class_names", "read"),
    [
        ([1, 2, 3], None, [0, 1, 2]),
        ([1, 2, 3], ("a", "b", "c"), [0, 1, 2]),
        ([1, 2, 3], ("a", "b", "c", "d"), [1, 2, 3]),  # the names say that they count from 0
        ([1, 3, 3], None, [1, 3, 3]),
        ([0, 1, 2], None, [0, 1, 2]),
    ],
)
def test_labels_count_from_1_only_if_nothing_speaks_against_it(
    labels: list[int], class_names: tuple[str, ...] | None, read: list[int]
) -> None:
    found = own_labels({"labels": np.array(labels)}, class_names, where="here")
    assert found.parts[0].tolist() == read
    assert bool(found.notes) == (read != labels)


def test_test_labels_decide_with_those_of_training() -> None:
    arrays = {"train": np.array([1, 2]), "test": np.array([0, 1])}
    assert [part.tolist() for part in own_labels(arrays, None, where="here").parts] == [[1, 2], [0, 1]]
    arrays = {"train": np.array([1, 2]), "test": np.array([2])}
    assert [part.tolist() for part in own_labels(arrays, None, where="here").parts] == [[0, 1], [1]]


def test_test_labels_alone_may_lack_classes() -> None:
    found = own_labels({"test": np.array([1, 2])}, ("a", "b"), where="here", has_training=False)
    assert found.parts[0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (np.array(["a", "b"]), np.array(["c"]), "test: expected names of classes, which are 'a', 'b', got 'c'"),
        (np.array(["a", "b"]), np.array([0]), "labels of one kind in all parts, got train names, test numbers"),
        (np.eye(2), np.eye(3), "one-hot rows of one length, got 2 in train, 3 in test"),
        (np.array([["a", "b"]]), np.array([["a", "b"]]), r"train: expected one name a sample, got strings \[1, 2\]"),
        (np.array([["a"]]), np.array(["b"]), "test: expected names"),
    ],
)
def test_labels_that_do_not_go_together_are_refused(train: NDArray[Any], test: NDArray[Any], message: str) -> None:
    with pytest.raises(DataError, match=f"^here: .*{message}"):
        own_labels({"train": train, "test": test}, None, where="here")
