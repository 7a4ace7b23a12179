"""Data of one's own in .npz files, as numpy.savez writes them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distill_worker.data.datasets import load_dataset
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.errors import DataError
from shared.sample_key import sample_key
from tests.distill_worker.data.datasets.files import pixels

Arrays = dict[str, NDArray[Any]]


def _load(path: Path, arrays: Arrays) -> Dataset:
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # a name is no option of savez
    return load_dataset("npz", path.parent, path=path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is to be."""
    return tmp_path / "mine.npz"


def _with_split() -> Arrays:
    return {
        "train_images": pixels(0, 6, 16, 24, 3),
        "train_labels": np.array([0, 1, 2, 0, 1, 2]),
        "test_images": pixels(1, 2, 16, 24, 3),
        "test_labels": np.array([[2], [1]], dtype=np.uint8),
    }


def test_given_split_is_kept_in_order(path: Path) -> None:
    arrays = _with_split()
    dataset = _load(path, arrays)
    for split, part in ((dataset.train, "train"), (dataset.test, "test")):
        assert split.images.dtype == torch.uint8
        assert split.images.is_contiguous()
        assert np.array_equal(split.images.permute(0, 2, 3, 1).numpy(), arrays[f"{part}_images"])
        assert split.needed_labels.dtype == torch.int64
        assert split.needed_labels.tolist() == arrays[f"{part}_labels"].flatten().tolist()
    assert (dataset.name, dataset.class_names) == ("npz", ("0", "1", "2"))
    assert (dataset.crop_padding, dataset.horizontal_flip) == (2, False)


def test_class_names_are_taken_from_the_file(path: Path) -> None:
    dataset = _load(path, _with_split() | {"class_names": np.array(["ant", "bee", "cow"])})
    assert dataset.class_names == ("ant", "bee", "cow")


def test_bare_images_are_split_by_key(path: Path) -> None:
    images, labels = pixels(0, 20, 8, 8), np.arange(20) % 3
    dataset = _load(path, {"images": images, "labels": labels})
    ranked = sorted(range(20), key=lambda position: sample_key(images[position][None]))
    assert dataset.train.needed_labels.tolist() == labels[ranked[:16]].tolist()
    assert dataset.test.needed_labels.tolist() == labels[ranked[16:]].tolist()
    assert np.array_equal(dataset.test.images[:, 0].numpy(), images[ranked[16:]])
    assert dataset.crop_padding == 1


def test_floating_point_images_become_pixels(path: Path) -> None:
    arrays = _with_split()
    expected = arrays["test_images"].copy()
    for part in ("train", "test"):
        arrays[f"{part}_images"] = (arrays[f"{part}_images"] / 255).astype(np.float32)
    assert np.array_equal(_load(path, arrays).test.images.permute(0, 2, 3, 1).numpy(), expected)


@pytest.mark.parametrize("without", ["train_images", "train_labels", "test_images", "test_labels"])
def test_absent_array_is_named(path: Path, without: str) -> None:
    arrays = _with_split()
    del arrays[without]
    with pytest.raises(DataError, match=f"^npz: {path}: expected an array '{without}', got "):
        _load(path, arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": pixels(0, 6, 4, 4)}, "expected either train_images, .*, or images and labels, got train_images"),
        ({"test_labels": np.array([1])}, "test: .*got 2 images but 1 labels"),
        ({"test_images": pixels(1, 2, 16, 16, 3)}, r"test: expected images of shape \[3, 16, 24\]"),
        ({"train_labels": np.array([0, 1, 1, 0, 1, 1])}, "every class, got none of 2;"),
        ({"train_labels": np.array([1, 1, 3, 1, 1, 3])}, "every class, got none of 0, 2;"),
        ({"test_labels": np.array([0, 3])}, "every class, got none of 3;"),
        ({"test_labels": np.array([0, -1])}, "test_labels: expected classes numbered from 0, got -1"),
        ({"test_labels": np.array([0, 2**40])}, "without gaps, got label 1099511627776"),
        ({"train_images": pixels(0, 6, 5, 5, 5)}, "train_images: .*fits only one of them"),
        ({"test_images": pixels(1, 2, 16, 24, 3) / 255.0}, "one scale, got .*test_images from 0 to 1"),
        ({"train_labels": np.array(list("abcabc"), dtype=object)}, "cannot read the array 'train_labels'"),
        ({"class_names": np.array(["ant", "bee"])}, "training: expected labels from 0 to 1, got 0 to 2"),
        ({"class_names": np.array(["ant", "bee", "cow", "dog"])}, "every class, got none of dog"),
        ({"class_names": np.array([1, 2, 3])}, "class_names: expected strings"),
        ({"class_names": np.array("ant")}, "class_names: expected strings"),
    ],
)
def test_what_does_not_go_together_is_refused(path: Path, change: Arrays, message: str) -> None:
    if "test_images" in change and change["test_images"].dtype != np.uint8:
        change = {"train_images": pixels(0, 6, 16, 24, 3).astype(np.float64)} | change
    with pytest.raises(DataError, match=f"^npz: {path}: .*{message}"):
        _load(path, _with_split() | change)


def test_one_class_is_refused(path: Path) -> None:
    with pytest.raises(DataError, match="expected at least 2 classes, got 1"):
        _load(path, {"images": pixels(0, 20, 8, 8), "labels": np.zeros(20, dtype=np.int64)})


def test_no_samples_are_refused(path: Path) -> None:
    nothing = {"train_images": pixels(0, 0, 16, 24, 3), "train_labels": np.zeros(0, dtype=int)}
    with pytest.raises(DataError, match="training: expected samples, got none"):
        _load(path, _with_split() | nothing | {"class_names": np.array(["ant", "bee", "cow"])})


def test_other_arrays_are_named(path: Path) -> None:
    with pytest.raises(DataError, match=r"expected either train_images.*, got x_train, y_train"):
        _load(path, {"x_train": pixels(0, 2, 8, 8), "y_train": np.arange(2)})


def _whole(path: Path) -> bytes:
    np.savez_compressed(path, **_with_split())  # type: ignore[arg-type]
    return path.read_bytes()


@pytest.mark.parametrize("damage", ["empty", "text", "pickle", "cut short", "changed", "folder", "single"])
def test_damaged_file_is_explained(path: Path, damage: str) -> None:
    content = _whole(path)
    middle = len(content) // 2
    if damage == "single":
        with path.open("wb") as file:
            np.save(file, pixels(0, 4, 8, 8))
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(
            {
                "empty": b"",
                "text": b"<!DOCTYPE html>",
                "pickle": b"\x80\x02}q\x00.",
                "cut short": content[:-30],
                "changed": content[:middle] + bytes(8) + content[middle + 8 :],
            }[damage]
        )
    with pytest.raises(DataError, match=f"^npz: {path}: (expected an .npz file|cannot read the array)"):
        load_dataset("npz", path.parent, path=path)


def _load_without_labels(path: Path, arrays: Arrays, names: tuple[str, ...] = ("a", "b")) -> Dataset:
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # a name is no option of savez
    return load_dataset("npz", path.parent, path=path, labels="none", class_names=names)


def test_images_alone_are_all_for_training(path: Path) -> None:
    images = pixels(0, 6, 16, 24, 3)
    dataset = _load_without_labels(path, {"images": images})
    assert (dataset.train.images.permute(0, 2, 3, 1).numpy() == images).all()
    assert (dataset.train.labels, dataset.has_test, dataset.class_names) == (None, False, ("a", "b"))


def test_test_labels_stay_and_training_labels_are_not_read(path: Path) -> None:
    """Names in the file are those of its labels, whatever the teacher calls them."""
    dataset = _load_without_labels(path, {**_with_split(), "class_names": np.array(["x", "y", "z"])})
    assert dataset.train.labels is None
    assert dataset.test.needed_labels.tolist() == [2, 1]
    assert dataset.class_names == ("x", "y", "z")


def test_images_alone_need_a_word(path: Path) -> None:
    with pytest.raises(DataError, match=r"got images alone; for images without labels, set data\.labels = 'none'"):
        _load(path, {"images": pixels(0, 6, 16, 24, 3)})
    with pytest.raises(DataError, match="expected either train_images or images, got photos"):
        _load_without_labels(path, {"photos": pixels(0, 6, 16, 24, 3)})
