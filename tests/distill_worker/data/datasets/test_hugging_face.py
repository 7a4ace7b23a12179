"""What the `datasets` library itself saves; without it, only that its absence is explained."""

import importlib.util
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image

from distill_worker.data.datasets import Rules, load_dataset
from distill_worker.errors import DataError
from shared.sample_key import sample_key
from tests.distill_worker.data.datasets.files import pixels

INSTALLED = importlib.util.find_spec("datasets") is not None


@pytest.mark.skipif(INSTALLED, reason="the library datasets is installed")
def test_absent_library_is_named_with_what_installs_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected the library datasets, .*uv pip install 'tuition\[hugging-face\]'"):
        load_dataset("hugging-face", tmp_path, path=tmp_path)


@pytest.fixture
def library() -> Any:
    """The real one, or the test is skipped; an optional extra."""
    library = pytest.importorskip("datasets")
    library.disable_progress_bars()
    return library


_PARTS = ("train", "test")


def _table(
    library: Any, stored: Any, labels: Any, *, image: str = "image", label: str = "label", kind: Any = None
) -> Any:
    columns = {image: [Image.fromarray(values) for values in stored], "id": list(range(len(stored))), label: labels}
    features = library.Features(
        {
            image: library.Image(),
            "id": library.Value("int64"),
            label: library.ClassLabel(names=["ant", "bee"]) if kind is None else kind,
        }
    )
    return library.Dataset.from_dict(columns, features=features)


@pytest.mark.parametrize("part", ["test", "validation"])
@pytest.mark.parametrize(("image", "label"), [("image", "label"), ("img", "labels"), ("img", "fine_label")])
def test_parts_keep_their_pixels_and_labels(library: Any, tmp_path: Path, part: str, image: str, label: str) -> None:
    train, test = pixels(0, 6, 8, 9, 3), pixels(1, 4, 8, 9, 3)
    library.DatasetDict(
        {
            "train": _table(library, train, [0, 1, 1, 0, 1, 0], image=image, label=label),
            part: _table(library, test, [1, 1, 0, 1], image=image, label=label),
        }
    ).save_to_disk(str(tmp_path))
    dataset = load_dataset("hugging-face", tmp_path / "unused", path=tmp_path)
    for split, stored, labels in ((dataset.train, train, [0, 1, 1, 0, 1, 0]), (dataset.test, test, [1, 1, 0, 1])):
        assert split.images.dtype == torch.uint8
        assert np.array_equal(split.images.permute(0, 2, 3, 1).numpy(), stored)
        assert split.needed_labels.dtype == torch.int64
        assert split.needed_labels.tolist() == labels
    assert dataset.class_names == ("ant", "bee")
    assert (dataset.crop_padding, dataset.horizontal_flip) == (1, False)


def test_one_table_is_split_by_key(library: Any, tmp_path: Path) -> None:
    """Grey images, labels without names, and a size to resize to for those that differ."""
    stored = pixels(0, 20, 8, 8)
    labels = [position % 3 for position in range(20)]
    _table(library, stored, labels, kind=library.Value("int32")).save_to_disk(str(tmp_path))
    dataset = load_dataset("hugging-face", tmp_path, path=tmp_path)
    ranked = sorted(range(20), key=lambda position: sample_key(stored[position][None]))
    assert np.array_equal(dataset.train.images[:, 0].numpy(), stored[ranked[:16]])
    assert dataset.test.needed_labels.tolist() == [labels[position] for position in ranked[16:]]
    assert dataset.class_names == ("0", "1", "2")
    assert load_dataset("hugging-face", tmp_path, path=tmp_path, image_size=(4, 6)).image_shape == (1, 4, 6)


@pytest.mark.parametrize(
    ("labels", "kind", "read", "names"),
    [
        (["dog", "cat"] * 4, "string", [1, 0] * 4, ("cat", "dog")),
        ([1, 2] * 4, "int64", [0, 1] * 4, ("0", "1")),
        ([[0.0, 1.0], [1.0, 0.0]] * 4, "one-hot", [1, 0] * 4, ("0", "1")),
    ],
)
def test_labels_without_names_may_be_names_count_from_1_or_be_one_hot(
    library: Any, tmp_path: Path, labels: list[Any], kind: str, read: list[int], names: tuple[str, ...]
) -> None:
    of_labels = library.List(library.Value("float32")) if kind == "one-hot" else library.Value(kind)
    parts = {part: _table(library, pixels(seed, 8, 4, 4), labels, kind=of_labels) for seed, part in enumerate(_PARTS)}
    library.DatasetDict(parts).save_to_disk(str(tmp_path))
    dataset = load_dataset("hugging-face", tmp_path, path=tmp_path)
    assert dataset.train.needed_labels.tolist() == dataset.test.needed_labels.tolist() == read
    assert dataset.class_names == names


def test_keys_by_the_first_rules_are_computed_for_what_differs(library: Any, tmp_path: Path) -> None:
    stored = [Image.fromarray(values) for values in pixels(0, 6, 8, 8, 4)]
    stored[2:] = [image.convert("RGB") for image in stored[2:]]
    columns = {"image": stored, "label": [0, 1] * 3}
    features = library.Features({"image": library.Image(), "label": library.ClassLabel(names=["ant", "bee"])})
    library.Dataset.from_dict(columns, features=features).save_to_disk(str(tmp_path))
    newest, first = (
        load_dataset("hugging-face", tmp_path, path=tmp_path, labels="none", class_names=("a", "b"), rules=rules)
        for rules in get_args(Rules)[::-1]
    )
    both = [*zip(newest.train.keys, first.train.keys, strict=True)]
    assert newest.train.first_keys == dict(both[:2])
    assert newest.train.keys[2:] == first.train.keys[2:]


def _as_hub(library: Any, folder: Path) -> None:
    """As the hub exports tables, with the types of their columns in the head of each file."""
    for seed, part in enumerate(_PARTS):
        table = _table(library, pixels(seed, 6, 4, 4, 3), [0, 1, 0, 1, 1, 0])
        table.to_parquet(str(folder / f"{part}-00000-of-00001.parquet"))


def _as_others(_: Any, folder: Path) -> None:
    """The bytes of image files and the names of classes, without any description."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for seed, part in enumerate(_PARTS):
        files = []
        for image in pixels(seed, 6, 4, 4, 3):
            Image.fromarray(image).save(file := BytesIO(), "PNG")
            files.append(file.getvalue())
        columns = {"image": files, "label": ["ant", "bee", "ant", "bee", "bee", "ant"]}
        parquet.write_table(arrow.table(columns), folder / f"{part}.parquet")


@pytest.mark.parametrize("write", [_as_hub, _as_others])
def test_parquet_is_read_as_a_saved_table(library: Any, tmp_path: Path, write: Callable[[Any, Path], None]) -> None:
    write(library, tmp_path)
    dataset = load_dataset("hugging-face", tmp_path, path=tmp_path)
    for seed, split in enumerate((dataset.train, dataset.test)):
        assert np.array_equal(split.images.permute(0, 2, 3, 1), pixels(seed, 6, 4, 4, 3))
        assert split.needed_labels.tolist() == [0, 1, 0, 1, 1, 0]
    assert dataset.class_names == ("ant", "bee")
    [file] = tmp_path.glob("train*")
    one = load_dataset("hugging-face", tmp_path, path=file, labels="none", class_names=("a", "b"))
    assert np.array_equal(one.train.images, dataset.train.images)


@pytest.mark.usefixtures("library")
def test_damaged_parquet_is_explained(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("none")
    with pytest.raises(DataError, match=r"hugging-face: .*expected Parquet files with the same columns"):
        load_dataset("hugging-face", tmp_path, path=tmp_path)
    with pytest.raises(DataError, match=r"hugging-face: .*expected a \.parquet file, got none"):
        load_dataset("hugging-face", tmp_path, path=tmp_path / "absent.parquet")


def _named_differently(library: Any, names: list[str], *, train_names: list[str] | None = None) -> Any:
    first = library.ClassLabel(names=train_names or ["ant", "bee", "cow"])
    parts = {"train": (pixels(0, 6, 4, 4), [0, 1, 2, 2, 1, 0], first)}
    parts["test"] = (pixels(1, 4, 4, 4), [0, 1, 1, 0], library.ClassLabel(names=names))
    return library.DatasetDict(
        {part: _table(library, stored, labels, kind=kind) for part, (stored, labels, kind) in parts.items()}
    )


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["ant", "bee", "cow"], [0, 1, 1, 0]),
        (["cow", "ant", "bee"], [2, 0, 0, 2]),
        (["cow", "ant"], [2, 0, 0, 2]),
    ],
)
def test_labels_of_the_test_table_are_mapped_by_name(
    library: Any, tmp_path: Path, names: list[str], labels: list[int]
) -> None:
    _named_differently(library, names).save_to_disk(str(tmp_path))
    dataset = load_dataset("hugging-face", tmp_path, path=tmp_path)
    assert dataset.class_names == ("ant", "bee", "cow")
    assert dataset.train.needed_labels.tolist() == [0, 1, 2, 2, 1, 0]
    assert dataset.test.needed_labels.tolist() == labels


def test_other_classes_in_the_test_table_are_refused(library: Any, tmp_path: Path) -> None:
    _named_differently(library, ["ant", "Bee", "cow"]).save_to_disk(str(tmp_path))
    message = "expected the same classes in both tables, got 'ant', 'bee', 'cow' in train and .*; only there: 'Bee'"
    with pytest.raises(DataError, match=message):
        load_dataset("hugging-face", tmp_path, path=tmp_path)


def _images_as_lists(library: Any) -> Any:
    return library.Dataset.from_dict({"image": pixels(0, 4, 3, 3).tolist(), "label": [0, 1, 0, 1]})


def _two_label_columns(library: Any) -> Any:
    return _table(library, pixels(0, 4, 3, 3), [0, 1, 0, 1]).add_column("labels", [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (_images_as_lists, "image: expected a column of type Image, got List"),
        (_two_label_columns, "expected one column of label, labels, fine_label, got image, id, label, labels"),
        (
            lambda library: _table(library, pixels(0, 4, 3, 3), [0, 1, 0, 1], image="photo"),
            "expected one column of image, img, got photo, id, label",
        ),
        (
            lambda library: _table(library, pixels(0, 4, 3, 3), [0.5] * 4, kind=library.Value("float32")),
            "label: expected integers .*got float",
        ),
        (
            lambda library: _table(
                library, pixels(0, 2, 3, 3), [[0], [0, 1]], kind=library.List(library.Value("int8"))
            ),
            "label: expected one label a row, got lists of different lengths",
        ),
        (
            lambda library: _table(library, pixels(0, 4, 3, 3), [0, 1, -1, 1]),
            "label: expected classes numbered from 0, got -1",
        ),
        (
            lambda library: _table(library, pixels(0, 4, 3, 3), [0, 1, None, 1]),
            "label: expected integers .*got object",
        ),
        (
            lambda library: library.DatasetDict(train=_table(library, pixels(0, 2, 3, 3), [0, 1])),
            "expected train and one of test, validation, valid, val, got train$",
        ),
    ],
)
def test_other_tables_are_refused(library: Any, tmp_path: Path, made: Callable[[Any], Any], message: str) -> None:
    made(library).save_to_disk(str(tmp_path))
    with pytest.raises(DataError, match=f"^hugging-face: {tmp_path}: {message}"):
        load_dataset("hugging-face", tmp_path, path=tmp_path)


def test_empty_cell_is_named(library: Any, tmp_path: Path) -> None:
    features = library.Features({"image": library.Image(), "label": library.Value("int64")})
    images = [Image.fromarray(pixels(0, 4, 4)), None]
    library.Dataset.from_dict({"image": images, "label": [0, 1]}, features=features).save_to_disk(str(tmp_path))
    with pytest.raises(DataError, match=r"image 1: expected a picture, got an unreadable file .the cell is empty"):
        load_dataset("hugging-face", tmp_path, path=tmp_path)


@pytest.mark.parametrize("damage", ["nothing saved", "damaged", "a file"])
def test_folder_that_holds_no_table_is_refused(library: Any, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "saved"
    if damage == "a file":
        path.write_bytes(b"")
    elif damage == "nothing saved":
        path.mkdir()
    else:
        _table(library, pixels(0, 4, 3, 3), [0, 1, 0, 1]).save_to_disk(str(path))
        (path / "dataset_info.json").write_text("{")
    with pytest.raises(DataError, match=f"^hugging-face: {path}: expected (what datasets' save_to_disk|a folder)"):
        load_dataset("hugging-face", tmp_path, path=path)


def test_table_without_a_label_column_is_all_for_training(library: Any, tmp_path: Path) -> None:
    stored = pixels(0, 6, 8, 9, 3)
    features = library.Features({"image": library.Image()})
    table = library.Dataset.from_dict({"image": [Image.fromarray(values) for values in stored]}, features=features)
    table.save_to_disk(str(tmp_path / "one"))
    library.DatasetDict({"train": table, "test": table}).save_to_disk(str(tmp_path / "several"))
    for name in ("one", "several"):
        place = tmp_path / name
        dataset = load_dataset("hugging-face", place, path=place, labels="none", class_names=("ant", "bee"))
        assert (dataset.train.images.permute(0, 2, 3, 1).numpy() == stored).all()
        assert (dataset.train.labels, dataset.has_test, dataset.class_names) == (None, False, ("ant", "bee"))
