"""Image files that a CSV file lists, with labels and parts or without."""

from pathlib import Path

import numpy as np
import pytest

from distill_worker.config.stages.unlabelled import with_labels_off
from distill_worker.data.datasets import load_dataset
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.errors import DataError
from tests.distill_worker.data.datasets.files import pixels, write_png

IMAGES = pixels(0, 6, 8, 8)


def _write(folder: Path, text: str, *, encoding: str = "utf-8") -> Path:
    for number, image in enumerate(IMAGES):
        write_png(folder / "photos" / f"{number}.png", image)
    (folder / "list.csv").write_bytes(text.encode(encoding))
    return folder / "list.csv"


def _lines(*columns: str) -> str:
    """A line for each image, of values that are separated by spaces."""
    rows = zip(*(column.split() for column in columns), strict=True)
    return "".join(f"photos/{number}.png,{','.join(row)}\n" for number, row in enumerate(rows))


@pytest.mark.parametrize("keeps", [True, False], ids=["in a store", "in memory"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_parts_and_labels_are_read_by_the_names_of_their_columns(keeps: bool, encoding: str, tmp_path: Path) -> None:
    lines = _lines("cat 犬 cat 犬 cat 犬", "train train train val Train Val", "x x x x x x")
    path = _write(tmp_path, f"File, Label,split,note\n{lines}", encoding=encoding)
    dataset = load_dataset("image-folder", tmp_path, path=path, store=tmp_path / "decoded" if keeps else None)
    assert dataset.class_names == ("cat", "犬")
    assert np.array_equal(dataset.train.images[:, 0], IMAGES[[0, 1, 2, 4]])
    assert dataset.train.needed_labels.tolist() == [0, 1, 0, 0]
    assert np.array_equal(dataset.test.images[:, 0], IMAGES[[3, 5]])
    assert dataset.test.needed_labels.tolist() == [1, 1]


def test_one_part_is_split_by_key_like_a_folder(tmp_path: Path) -> None:
    path = _write(tmp_path, "path,label\n" + _lines("1 2 1 2 1 2"))
    for number, image in enumerate(IMAGES):
        write_png(tmp_path / "folder" / str(number % 2) / f"{number}.png", image)
    listed, folder = (load_dataset("image-folder", tmp_path, path=one) for one in (path, tmp_path / "folder"))
    assert np.array_equal(listed.train.images, folder.train.images)
    assert np.array_equal(listed.test.needed_labels, folder.test.needed_labels)
    assert listed.notes[0].endswith("the labels count from 1 to 2; they are read as 0 to 1")


def _without_labels(path: Path) -> Dataset:
    return load_dataset("image-folder", path.parent, path=path, labels="none", class_names=("cat", "dog"))


def test_labels_may_be_absent(tmp_path: Path) -> None:
    dataset = _without_labels(_write(tmp_path, "image\n" + "".join(f"photos/{number}.png\n" for number in range(6))))
    assert np.array_equal(dataset.train.images[:, 0], IMAGES)
    assert dataset.train.labels is None


def test_test_part_keeps_its_labels_where_those_of_training_are_not_used(tmp_path: Path) -> None:
    lines = _lines("cat cat cat cat dog dog", "train train train train test test")
    dataset = _without_labels(_write(tmp_path, f"path,label,split\n{lines}"))
    assert len(dataset.train.images) == 4
    assert dataset.test.needed_labels.tolist() == [1, 1]


@pytest.mark.parametrize(("head", "labels"), [("path", "none"), ("path,note", "none"), ("path,label", None)])
def test_list_without_a_column_of_labels_has_no_labels(head: str, labels: str | None, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"{head}\n")
    document = {"data": {"name": "image-folder", "path": str(tmp_path / "list.csv")}}
    assert with_labels_off(document)["data"].get("labels") == labels


def test_plain_list_under_this_extension_stays_one(tmp_path: Path) -> None:
    path = _write(tmp_path, "photos/0.png\nphotos/1.png\n")
    assert len(_without_labels(path).train.images) == 2


def test_test_labels_that_are_names_are_names_though_they_are_numbers(tmp_path: Path) -> None:
    path = _write(tmp_path, "path,label,split\n" + _lines("1 1 1 2 2 1", "train train train train test test"))
    names = ("1", "2", "3")
    dataset = load_dataset("image-folder", tmp_path, path=path, labels="none", class_names=names)
    assert dataset.test.needed_labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a first line that names the columns, .* got an empty file"),
        ("a,b\n1,2\n", "one of them path or file .* got a, b"),
        ("path;label\nphotos/0.png;1\n", "one of them path or file .* got path;label"),
        ("path,label\n", "expected a line for each image"),
        ("path,label\n\nphotos/0.png\nphotos/1.png,1\n", "expected 2 values in each line, .* got others in line 3"),
        ("path,label\nphotos/0.png,a\nphotos/9.png,b\n", "got 1 of 2 that do not exist: .*9.png"),
        ("path,label\nphotos/0.png,a\nphotos/1.png,\n", "expected a label in each line, got none in line 3"),
        ("path\nphotos/0.png\n", "expected a column label or class or class_name, got none; .* data.labels = 'none'"),
        (
            "path,label,split\nphotos/0.png,a,train\nphotos/1.png,b,other\n",
            "the parts train and test .* got train, other",
        ),
        ("path,label,split\nphotos/0.png,a,train\nphotos/1.png,c,test\n", "of test: expected names of classes"),
        ('path,label\n"photos/0.png,a\n', "expected a CSV file in UTF-8"),
    ],
)
def test_damaged_list_is_explained(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"^image-folder: .*{message}"):
        load_dataset("image-folder", tmp_path, path=_write(tmp_path, text))
