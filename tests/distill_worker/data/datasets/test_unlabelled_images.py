"""Image files without labels: what is read, in which order, and what the user is told of the rest."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from distill_worker.data.datasets import load_dataset
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.errors import DataError

CLASSES = ("cat", "dog", "owl")


def _picture(path: Path, value: int, size: tuple[int, int] = (8, 8)) -> Path:
    """One that is grey of this value all over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path)
    return path


def _load(path: Path, image_size: tuple[int, int] | None = None, names: tuple[str, ...] = CLASSES) -> Dataset:
    return load_dataset("image-folder", path, path=path, image_size=image_size, labels="none", class_names=names)


def _values(images: torch.Tensor) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def test_images_side_by_side_are_all_for_training(tmp_path: Path) -> None:
    for value in (30, 10, 20):
        _picture(tmp_path / f"{value}.png", value)
    dataset = _load(tmp_path)
    assert _values(dataset.train.images) == [10, 20, 30]
    assert dataset.train.labels is None
    assert (dataset.is_labelled, dataset.has_test, len(dataset.test.images)) == (False, False, 0)
    assert dataset.class_names == CLASSES
    assert [Path(file.name).name for file in dataset.train.files or ()] == ["10.png", "20.png", "30.png"]


def test_folders_mean_nothing_and_other_files_are_counted(tmp_path: Path) -> None:
    _picture(tmp_path / "2024" / "may" / "a.png", 1)
    _picture(tmp_path / "b.jpg", 2)
    _picture(tmp_path / ".trash" / "c.png", 3)
    (tmp_path / "notes.txt").write_text("no picture")
    dataset = _load(tmp_path)
    assert sorted(_values(dataset.train.images)) == [1, 2]
    assert dataset.notes == (
        f"image-folder: {tmp_path}: skipped files that are not read: 1 .txt; convert pictures to PNG or JPEG",
    )


def test_list_names_files_from_its_own_folder(tmp_path: Path) -> None:
    """The order is that of the list, which may be of any program: with empty lines and spaces around a path."""
    _picture(tmp_path / "a" / "one.png", 1)
    _picture(tmp_path / "b" / "two.png", 2)
    _picture(tmp_path / "b" / "three.png", 3)
    listed = tmp_path / "mine.txt"
    listed.write_text(f"b/two.png\n\n  {tmp_path}/a/one.png \n")
    assert _values(_load(listed).train.images) == [2, 1]


def test_test_folder_has_labels_of_the_teachers_classes(tmp_path: Path) -> None:
    """It need not have all classes; its images are in no other part."""
    _picture(tmp_path / "x.png", 1)
    _picture(tmp_path / "Test" / "owl" / "o.png", 7)
    _picture(tmp_path / "Test" / "cat" / "c.png", 5)
    dataset = _load(tmp_path)
    assert _values(dataset.train.images) == [1]
    assert (_values(dataset.test.images), dataset.test.needed_labels.tolist()) == ([5, 7], [0, 2])
    assert dataset.has_test


def test_images_of_several_sizes_are_resized(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png", 1)
    _picture(tmp_path / "b.png", 2, (4, 9))
    assert _load(tmp_path, (6, 5)).image_shape == (1, 6, 5)
    with pytest.raises(DataError, match=r"expected data\.image_size, because the pictures differ"):
        _load(tmp_path)


def test_class_that_the_teacher_lacks_is_named(tmp_path: Path) -> None:
    _picture(tmp_path / "x.png", 1)
    _picture(tmp_path / "test" / "cow" / "c.png", 5)
    with pytest.raises(DataError, match=r"got cow; the teacher's classes are cat, dog, owl"):
        _load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected the path of an image in each line, got an empty file"),
        ("gone.png\n", "got 1 of 1 that do not exist: .*gone.png"),
        (b"\xff\xfe\x00", "a text file in UTF-8 with the path of an image in each line"),
    ],
    ids=["empty", "gone", "bytes"],
)
def test_list_that_names_no_images_is_an_error(content: str | bytes, message: str, tmp_path: Path) -> None:
    listed = tmp_path / "mine.txt"
    listed.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        _load(listed)


def test_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"something")
    with pytest.raises(DataError, match=r"expected image files, got none \(skipped files that are not read: 1 \.heic"):
        _load(tmp_path)
    with pytest.raises(DataError, match="expected a folder of images, or a text file that lists them, got neither"):
        _load(tmp_path / "gone")


def test_classes_must_be_known(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png", 1)
    with pytest.raises(DataError, match=r"list their names in data\.class_names, in the teacher's order"):
        _load(tmp_path, names=())
