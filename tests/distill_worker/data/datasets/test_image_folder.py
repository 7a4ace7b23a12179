"""Folders of image files, as PNG where pixels are compared."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from distill_worker.data.datasets import load_dataset
from distill_worker.data.datasets.class_folders import class_folders, image_files
from distill_worker.data.pictures.rules import NEWEST
from distill_worker.errors import DataError
from shared.sample_key import sample_key
from tests.distill_worker.data.datasets.files import pixels, write_png

CLASSES = ("Zebra", "ant", "bee")
"""In the order of their characters, capitals first."""


def _write(folder: Path, per_class: int, seed: int, *shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Returns the pixels, class after class."""
    stored = pixels(seed, len(CLASSES) * per_class, *shape)
    for position, image in enumerate(stored):
        write_png(folder / CLASSES[position // per_class] / f"{position:03}.png", image)
    return stored


@pytest.mark.parametrize(
    ("train_part", "part"),
    [
        ("train", "test"),
        ("train", "val"),
        ("Train", "Test"),
        ("training", "validation"),
        ("TRAINING", "Valid"),
        ("training", "testing"),
    ],
)
def test_parts_keep_their_pixels_and_labels(tmp_path: Path, train_part: str, part: str) -> None:
    train, test = _write(tmp_path / train_part, 3, 0, 16, 20, 3), _write(tmp_path / part, 2, 1, 16, 20, 3)
    dataset = load_dataset("image-folder", tmp_path / "unused", path=tmp_path)
    assert dataset.class_names == CLASSES
    for split, stored, per_class in ((dataset.train, train, 3), (dataset.test, test, 2)):
        assert split.images.dtype == torch.uint8
        assert np.array_equal(split.images.permute(0, 2, 3, 1).numpy(), stored)
        assert split.needed_labels.dtype == torch.int64
        assert split.needed_labels.tolist() == [label for label in range(3) for _ in range(per_class)]
    assert (dataset.crop_padding, dataset.horizontal_flip) == (2, True)


def test_test_folder_goes_before_val(tmp_path: Path) -> None:
    for seed, part in enumerate(("train", "val", "test")):
        stored = _write(tmp_path / part, 1, seed, 4, 4)
    dataset = load_dataset("image-folder", tmp_path, path=tmp_path)
    assert np.array_equal(dataset.test.images[:, 0].numpy(), stored)


def test_one_folder_is_split_by_key(tmp_path: Path) -> None:
    """File names do not matter: the same images under other names are split alike."""
    stored = _write(tmp_path, 10, 0, 4, 4)
    ranked = sorted(range(30), key=lambda position: sample_key(stored[position][None]))
    for position, file in enumerate(sorted((tmp_path / "ant").iterdir())):
        file.rename(file.with_name(f"{99 - position}.png"))
    dataset = load_dataset("image-folder", tmp_path, path=tmp_path)
    assert dataset.train.needed_labels.tolist() == [position // 10 for position in ranked[:24]]
    assert np.array_equal(dataset.test.images[:, 0].numpy(), stored[ranked[24:]])
    assert dataset.test.needed_labels.tolist() == [position // 10 for position in ranked[24:]]


def test_class_may_be_called_train(tmp_path: Path) -> None:
    """Images right in train are those of a class."""
    for seed, name in enumerate(("bus", "test", "train")):
        for number in range(5):
            write_png(tmp_path / name / f"{number}.png", pixels(10 * seed + number, 4, 4))
    assert load_dataset("image-folder", tmp_path, path=tmp_path).class_names == ("bus", "test", "train")


@pytest.mark.parametrize("folder", [".ipynb_checkpoints", "__MACOSX", ".git/objects"])
@pytest.mark.parametrize("place", [".", "train", "train/ant"])
def test_hidden_folders_are_neither_classes_nor_read(tmp_path: Path, folder: str, place: str) -> None:
    """Jupyter copies pictures there, and macOS writes `._` files that are no pictures under a picture's name."""
    _write(tmp_path / "train", 2, 0, 4, 4)
    _write(tmp_path / "test", 1, 1, 4, 4)
    write_png(tmp_path / place / folder / "000-checkpoint.png", pixels(2, 9, 9))
    (tmp_path / "test" / "bee" / "._000.png").write_bytes(b"resource fork")
    dataset = load_dataset("image-folder", tmp_path, path=tmp_path)
    assert dataset.class_names == CLASSES
    assert (len(dataset.train.needed_labels), len(dataset.test.needed_labels)) == (6, 3)
    assert dataset.notes == ()


def test_class_called_test_is_no_part_because_of_a_hidden_folder_in_it(tmp_path: Path) -> None:
    for seed, name in enumerate(("bus", "test", "train")):
        for number in range(5):
            write_png(tmp_path / name / f"{number}.png", pixels(10 * seed + number, 4, 4))
        (tmp_path / name / ".ipynb_checkpoints").mkdir()
    assert load_dataset("image-folder", tmp_path, path=tmp_path).class_names == ("bus", "test", "train")


def test_files_are_in_the_order_of_torchvision(tmp_path: Path) -> None:
    """Also those of folders within a class, so that the samples stay those of earlier versions."""
    datasets = pytest.importorskip("torchvision.datasets")
    for number, name in enumerate(("b.png", "B.png", "a-1/z.png", "a/x.png", "a/b/y.png", "a.png", "10.PNG", "9.png")):
        for seed, animal in enumerate(("ant", "bee")):
            write_png(tmp_path / "train" / animal / name, pixels(10 * number + seed, 4, 4))
            write_png(tmp_path / "test" / animal / name, pixels(10 * number + seed, 4, 4))
    dataset = load_dataset("image-folder", tmp_path, path=tmp_path)
    listed = datasets.ImageFolder(str(tmp_path / "train"))
    assert dataset.train.needed_labels.tolist() == listed.targets
    expected = np.stack([np.asarray(Image.open(path)) for path, _ in listed.samples])
    assert np.array_equal(dataset.train.images[:, 0].numpy(), expected)


def test_files_that_are_not_read_are_counted(tmp_path: Path) -> None:
    _write(tmp_path / "train", 5, 0, 4, 4)
    _write(tmp_path / "test", 5, 1, 4, 4)
    for name in (
        "train/ant/notes.txt",
        "train/ant/png",
        "train/ant/a.heic",
        "test/bee/deeper/b.HEIC",
        "train/bee/c.psd",
        "test/d.png",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"something")
    dataset = load_dataset("image-folder", tmp_path, path=tmp_path)
    assert (len(dataset.train.needed_labels), len(dataset.test.needed_labels)) == (15, 15)
    (note,) = dataset.notes
    assert "skipped files that are not read: 2 .heic, 1 .png beside the class folders, 1 .psd, 1 .txt, 1 png;" in note


def test_names_in_any_script_links_and_what_programs_leave(tmp_path: Path) -> None:
    """Links to files and folders are followed; what programs leave is neither read nor counted."""
    elsewhere = tmp_path / "elsewhere"
    for name, image in zip(("猫", "صقر"), pixels(0, 2, 4, 4), strict=True):
        write_png(elsewhere / name / "снимок 1.png", image)
    for part in ("train", "test"):
        (tmp_path / "photos" / part / "猫").mkdir(parents=True)
        (tmp_path / "photos" / part / "صقر").symlink_to(elsewhere / "صقر")
        (tmp_path / "photos" / part / "猫" / "link.png").symlink_to(elsewhere / "猫" / "снимок 1.png")
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", "@eaDir"):
            (tmp_path / "photos" / part / "猫" / name).touch()
    for keeps in (tmp_path / "decoded", None):
        dataset = load_dataset("image-folder", tmp_path, path=tmp_path / "photos", store=keeps)
        assert dataset.class_names == ("صقر", "猫")
        assert np.array_equal(dataset.train.images[:, 0], pixels(0, 2, 4, 4)[::-1])
        assert dataset.notes == ()


def test_class_of_pictures_that_are_not_read_is_named_with_them(tmp_path: Path) -> None:
    _write(tmp_path, 2, 0, 4, 4)
    (tmp_path / "cow").mkdir()
    (tmp_path / "cow" / "cow.heic").write_bytes(b"something")
    with pytest.raises(DataError, match=r"got no image files in cow \(skipped files that are not read: 1 .heic;"):
        load_dataset("image-folder", tmp_path, path=tmp_path)


def test_grey_and_size_are_decided_over_both_parts(tmp_path: Path) -> None:
    _write(tmp_path / "train", 2, 0, 4, 4)
    test = _write(tmp_path / "test", 1, 1, 4, 4, 3)
    dataset = load_dataset("image-folder", tmp_path, path=tmp_path)
    assert dataset.image_shape == (3, 4, 4)
    assert np.array_equal(dataset.test.images.permute(0, 2, 3, 1).numpy(), test)
    write_png(tmp_path / "test" / "ant" / "large.png", pixels(2, 8, 8, 3))
    with pytest.raises(DataError, match=r"expected data.image_size, .*is 4x4, .*large.png is 8x8"):
        load_dataset("image-folder", tmp_path, path=tmp_path)
    assert load_dataset("image-folder", tmp_path, path=tmp_path, image_size=(6, 5)).image_shape == (3, 6, 5)


def test_jpeg_is_read(tmp_path: Path) -> None:
    """Of one colour each, which JPEG keeps to within 2 of 255."""
    for label, name in enumerate(CLASSES):
        (tmp_path / name).mkdir()
        for number in range(4):
            colour = (80 * label, 20 * number, 100)
            Image.new("RGB", (16, 16), colour).save(tmp_path / name / f"{number}.JPG", format="JPEG", quality=95)
    dataset = load_dataset("image-folder", tmp_path, path=tmp_path)
    for split in (dataset.train, dataset.test):
        for image, label in zip(split.images, split.needed_labels.tolist(), strict=True):
            assert abs(int(image[0, 7, 7]) - 80 * label) <= 2
            assert abs(int(image[2, 7, 7]) - 100) <= 2


def test_classes_that_differ_between_parts_are_named(tmp_path: Path) -> None:
    _write(tmp_path / "train", 1, 0, 4, 4)
    _write(tmp_path / "test", 1, 1, 4, 4)
    write_png(tmp_path / "test" / "cow" / "0.png", pixels(2, 4, 4))
    with pytest.raises(DataError, match=r"expected the same classes .*, got only in one of them: cow$"):
        load_dataset("image-folder", tmp_path, path=tmp_path)


@pytest.mark.parametrize("part", ["train", "test", "val"])
def test_single_part_is_refused(tmp_path: Path, part: str) -> None:
    _write(tmp_path / part, 1, 0, 4, 4)
    with pytest.raises(DataError, match=f"expected train and test or val .*got only {part}; for images without labels"):
        load_dataset("image-folder", tmp_path, path=tmp_path)


def test_two_training_folders_are_refused(tmp_path: Path) -> None:
    for part in ("train", "Training", "test"):
        _write(tmp_path / part, 1, 0, 4, 4)
    with pytest.raises(DataError, match=r"each once and .*got only Training and train and test; for images"):
        load_dataset("image-folder", tmp_path, path=tmp_path)


def test_class_without_images_is_named(tmp_path: Path) -> None:
    _write(tmp_path, 2, 0, 4, 4)
    (tmp_path / "cow").mkdir()
    (tmp_path / "cow" / "notes.txt").write_text("none yet")
    with pytest.raises(DataError, match=f"^image-folder: {tmp_path}: expected a folder of image files .*cow"):
        load_dataset("image-folder", tmp_path, path=tmp_path)


def test_class_that_is_left_without_training_samples_is_named(tmp_path: Path) -> None:
    """A class whose one image falls into the test split; which one that is, its key decides."""
    stored = _write(tmp_path, 10, 0, 4, 4)
    last = max(sample_key(image[None]) for image in stored)
    rare = next(image for seed in range(10_000) if sample_key((image := pixels(seed, 4, 4))[None]) > last)
    write_png(tmp_path / "cow" / "0.png", rare)
    with pytest.raises(DataError, match="expected training samples of every class, got none of cow;"):
        load_dataset("image-folder", tmp_path, path=tmp_path)


def test_one_class_is_refused(tmp_path: Path) -> None:
    for number in range(5):
        write_png(tmp_path / "ant" / f"{number}.png", pixels(number, 4, 4))
    with pytest.raises(DataError, match="expected at least 2 classes, got 1"):
        load_dataset("image-folder", tmp_path, path=tmp_path)


@pytest.mark.parametrize("kind", ["file", "empty"])
def test_place_without_folders_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "place"
    if kind == "file":
        path.write_bytes(b"")
    else:
        path.mkdir()
    with pytest.raises(DataError, match=f"^image-folder: {path}: expected a folder"):
        load_dataset("image-folder", tmp_path, path=path)


@pytest.mark.parametrize("store", [None, "store"])
def test_file_that_is_no_image_is_named(tmp_path: Path, store: str | None) -> None:
    """So is the setting that leaves it out."""
    folder = tmp_path / "images"
    _write(folder, 2, 0, 4, 4)
    (folder / "bee" / "fake.png").write_text("no picture")
    expected = r"bee/fake.png: expected a picture, got an unreadable file.*; or set data.unreadable = \"skip\", which"
    with pytest.raises(DataError, match=expected):
        load_dataset("image-folder", tmp_path, path=folder, store=None if store is None else tmp_path / store)


@pytest.mark.parametrize(
    "names", [("train_set", "test_set"), ("train-images", "val-images"), ("dev", "eval"), ("train ", "x")]
)
def test_parts_of_other_names_are_not_taken_for_classes(tmp_path: Path, names: tuple[str, str]) -> None:
    for number, part in enumerate(names):
        _write(tmp_path / part, 2, number, 8, 8, 3)
    with pytest.raises(DataError, match=rf"expected train and test .*, got only .*{names[0]}"):
        load_dataset("image-folder", tmp_path, path=tmp_path)


def test_class_folders_may_hold_equal_folders(tmp_path: Path) -> None:
    for number, label in enumerate(("cat", "dog")):
        _write(tmp_path / label, 9, number, 8, 8, 3)
    assert load_dataset("image-folder", tmp_path, path=tmp_path).class_names == ("cat", "dog")


@pytest.mark.parametrize("target", ["..", "../..", "."])
def test_links_that_lead_back_are_not_followed(tmp_path: Path, target: str) -> None:
    """Two of them would lead into each other for ever. They are counted; a link to another folder is followed."""
    root = tmp_path / "pets"
    _write(root, 10, 0, 4, 4)
    (tmp_path / "more").mkdir()
    write_png(tmp_path / "more" / "other.png", pixels(1, 1, 4, 4)[0])
    for name in CLASSES[:2]:
        (root / name / "loop").symlink_to(target)
        (root / name / "more").symlink_to(tmp_path / "more")
    found = class_folders(root, NEWEST, where="data")
    assert [(found.labels == label).sum() for label in range(3)] == [11, 11, 10]
    assert found.skipped == {"leading back to a folder above": 2}


def test_pipe_named_like_a_picture_is_skipped(tmp_path: Path) -> None:
    """A read of it would never return. A link to a file is followed."""
    _write(tmp_path, 10, 0, 4, 4)
    os.mkfifo(tmp_path / "ant" / "x.png")
    write_png(tmp_path / "elsewhere" / "linked.png", pixels(1, 1, 4, 4)[0])
    (tmp_path / "ant" / "linked.png").symlink_to(tmp_path / "elsewhere" / "linked.png")
    (tmp_path / "ant" / "broken.png").symlink_to(tmp_path / "absent.png")
    paths, skipped = image_files(tmp_path / "ant")
    assert (len(paths), skipped) == (12, {"being pipes or devices": 1})
