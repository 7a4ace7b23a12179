"""Tiny ImageNet in a small copy of its archive: JPEG files, WordNet ids, annotations with boxes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from distill_worker.data.datasets import load_dataset
from distill_worker.errors import DataError

WNIDS = ("n03000000", "n01000000", "n02000000")
"""Not in alphabetical order, as in the archive."""
TEST = ("n02000000", "n01000000", "n02000000", "n03000000")


def _write_jpeg(path: Path, colour: tuple[int, int, int] | int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = "L" if isinstance(colour, int) else "RGB"
    Image.new(mode, (64, 64), colour).save(path, format="JPEG", quality=95)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two training images a class, one of them grey, four validation images, and the test images without labels.

    Every image is of one colour, which JPEG keeps to within 2 of 255.
    """
    folder = tmp_path / "tiny-imagenet-200"
    for number, wnid in enumerate(WNIDS):
        _write_jpeg(folder / "train" / wnid / "images" / f"{wnid}_0.JPEG", (40 * number, 200, 10))
        _write_jpeg(folder / "train" / wnid / "images" / f"{wnid}_1.JPEG", 40 * number)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t63\t63\n")
    for number in range(len(TEST)):
        _write_jpeg(folder / "val" / "images" / f"val_{number}.JPEG", (10, 50 * number, 100))
    _write_jpeg(folder / "test" / "images" / "test_0.JPEG", 0)
    (folder / "val" / "val_annotations.txt").write_text(
        "".join(f"val_{number}.JPEG\t{wnid}\t0\t32\t44\t62\n" for number, wnid in reversed(list(enumerate(TEST))))
    )
    (folder / "wnids.txt").write_text("\n".join(WNIDS))
    (folder / "words.txt").write_text("n00000001\tentity\nn01000000\tgoldfish, Carassius auratus\nn03000000\tgong\n")
    return folder


def test_pixels_and_labels_are_those_of_the_archive(folder: Path) -> None:
    """Labels follow the alphabet; a class without a word keeps its id."""
    dataset = load_dataset("tiny-imagenet", folder.parent)
    assert dataset.class_names == ("goldfish", "n02000000", "gong")
    assert dataset.train.needed_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.train.images.shape == (6, 3, 64, 64)
    assert dataset.train.images.dtype == torch.uint8
    for position, number in enumerate((1, 1, 2, 2, 0, 0)):
        colour = [40 * number] * 3 if position % 2 else [40 * number, 200, 10]
        expected = np.broadcast_to(np.array(colour)[:, None, None], (3, 64, 64))
        assert np.abs(dataset.train.images[position].numpy().astype(int) - expected).max() <= 2
    assert dataset.test.needed_labels.tolist() == [2, 1, 0, 1]
    for position, number in enumerate((3, 2, 1, 0)):
        assert abs(int(dataset.test.images[position, 1, 7, 7]) - 50 * number) <= 2
    assert (dataset.crop_padding, dataset.horizontal_flip) == (8, True)


def test_image_size_resizes_both_splits(folder: Path) -> None:
    dataset = load_dataset("tiny-imagenet", folder.parent, image_size=(32, 16))
    assert dataset.train.images.shape == (6, 3, 32, 16)
    assert dataset.test.images.shape == (4, 3, 32, 16)
    assert abs(int(dataset.test.images[0, 1, 7, 7]) - 150) <= 2
    assert dataset.crop_padding == 2


@pytest.mark.parametrize("name", ["wnids.txt", "words.txt", "val/val_annotations.txt"])
def test_absent_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(DataError, match=rf"^tiny-imagenet: {folder}: expected wnids.txt, .*; absent: {name}; .*unzip"):
        load_dataset("tiny-imagenet", folder.parent)


def test_folders_that_differ_from_wnids_are_refused(folder: Path) -> None:
    (folder / "wnids.txt").write_text("\n".join((*WNIDS, "n04000000")))
    with pytest.raises(DataError, match=r"expected in train the classes of wnids.txt, got only in one: n04000000"):
        load_dataset("tiny-imagenet", folder.parent)


def test_annotation_of_another_class_is_refused(folder: Path) -> None:
    with (folder / "val" / "val_annotations.txt").open("a") as file:
        file.write("val_0.JPEG\tn09000000\t0\t0\t1\t1\n")
    with pytest.raises(
        DataError, match=r"val_annotations.txt: expected a file and one of wnids.txt, got 'val_0.JPEG n09"
    ):
        load_dataset("tiny-imagenet", folder.parent)


@pytest.mark.parametrize("content", [None, b"", b"no picture", "cut short"])
def test_picture_that_cannot_be_read_is_named(folder: Path, content: bytes | str | None) -> None:
    file = folder / "val" / "images" / "val_2.JPEG"
    if content is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-200] if isinstance(content, str) else content)
    with pytest.raises(DataError, match=r"val_2.JPEG: expected a picture, got an unreadable file"):
        load_dataset("tiny-imagenet", folder.parent)


def test_text_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "words.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"cannot read words.txt .*unpack the archive again"):
        load_dataset("tiny-imagenet", folder.parent)
