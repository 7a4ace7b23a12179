"""Image files that cannot be read: an error, or left out and named."""

from pathlib import Path

import pytest
import torch

from distill_worker.data.datasets import Unreadable, load_dataset
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.errors import ConfigError, DataError
from tests.distill_worker.data.datasets.files import pixels, write_png
from tests.distill_worker.data.pictures.test_store import shown

COUNT = 6
KEPT = pytest.mark.parametrize("keeps", [True, False], ids=["in a store", "in memory"])


def _write(folder: Path, *parts: str) -> Path:
    for seed, part in enumerate(parts):
        for number, values in enumerate(pixels(seed, COUNT, 32, 32, 3)):
            write_png(folder / "photos" / part / f"{number}.png", values)
    return folder


def _cut(photo: Path, share: float) -> None:
    """Leave the head and a part of the pixels, or nothing."""
    content = photo.read_bytes()
    photo.write_bytes(content[: int(share * len(content))])


def _load(folder: Path, *, keeps: bool, labels: bool = True, unreadable: Unreadable = "skip") -> Dataset:
    return load_dataset(
        "image-folder",
        folder,
        path=folder / "photos",
        store=folder / "decoded" if keeps else None,
        unreadable=unreadable,
        labels="given" if labels else "none",
        class_names=() if labels else ("cat", "dog"),
    )


@KEPT
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_files_that_cannot_be_read_are_left_out_with_their_labels(keeps: bool, share: float, tmp_path: Path) -> None:
    """Whether their heads can be read or not. The data are those of a folder without these files."""
    cut = ("train/cat/2.png", "train/dog/0.png", "test/dog/5.png")
    for folder in (tmp_path / "cut", tmp_path / "without"):
        _write(folder, "train/cat", "train/dog", "test/cat", "test/dog")
    for name in cut:
        _cut(tmp_path / "cut" / "photos" / name, share)
        (tmp_path / "without" / "photos" / name).unlink()
    left, expected = _load(tmp_path / "cut", keeps=keeps), _load(tmp_path / "without", keeps=False)
    for ours, theirs in ((left.train, expected.train), (left.test, expected.test)):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.needed_labels, theirs.needed_labels)
        assert len(ours.files or ()) == len(ours.images)
    [note] = left.notes
    assert ": skipped 3 files of 24 that cannot be read: " in note
    assert all(str(tmp_path / "cut" / "photos" / name) in note for name in cut)


@KEPT
@pytest.mark.parametrize("labels", [True, False])
def test_folder_without_parts_leaves_them_out(labels: bool, keeps: bool, tmp_path: Path) -> None:
    """Images that are divided by key, and those without labels."""
    _cut(_write(tmp_path, "cat", "dog") / "photos" / "cat" / "3.png", 0.5)
    dataset = _load(tmp_path, keeps=keeps, labels=labels)
    assert len(dataset.train.images) + len(dataset.test.images) == 2 * COUNT - 1
    assert "skipped 1 file of 12 that cannot be read" in dataset.notes[0]


@KEPT
def test_by_default_they_are_an_error_also_after_they_were_skipped(keeps: bool, tmp_path: Path) -> None:
    _cut(_write(tmp_path, "cat", "dog") / "photos" / "cat" / "3.png", 0.5)
    _load(tmp_path, keeps=keeps)
    with pytest.raises(DataError, match=r"cat/3\.png: expected a picture, got an unreadable file"):
        _load(tmp_path, keeps=keeps, unreadable="error")


def test_skipped_file_is_read_again_once_it_has_changed(tmp_path: Path) -> None:
    photo = _write(tmp_path, "cat", "dog") / "photos" / "cat" / "3.png"
    whole = photo.read_bytes()
    _cut(photo, 0.5)
    _load(tmp_path, keeps=True)
    with shown() as said:
        _load(tmp_path, keeps=True)
    assert not said.titles, "neither it nor any other is read again"
    photo.write_bytes(whole)
    with shown() as said:
        dataset = _load(tmp_path, keeps=True)
    assert (said.decoded, dataset.notes) == (1, ())


def test_only_coloured_image_that_is_skipped_leaves_the_others_grey(tmp_path: Path) -> None:
    """Its head can be read, its pixels cannot: the shape is that of the others, at once and later."""
    for number, values in enumerate(pixels(0, COUNT, 32, 32)):
        write_png(tmp_path / "photos" / "cat" / f"{number}.png", values)
        write_png(tmp_path / "photos" / "dog" / f"{number}.png", 255 - values)
    write_png(tmp_path / "photos" / "dog" / "colour.png", pixels(1, 32, 32, 3))
    _cut(tmp_path / "photos" / "dog" / "colour.png", 0.5)
    for keeps in (True, True, False):
        assert _load(tmp_path, keeps=keeps).image_shape == (1, 32, 32)


@KEPT
def test_part_without_readable_files_is_an_error(keeps: bool, tmp_path: Path) -> None:
    _write(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog")
    for photo in (tmp_path / "photos" / "test").glob("*/*"):
        _cut(photo, 0.5)
    with pytest.raises(DataError, match=r"skipped 12 files of 24 .*; and others; expected files that can be read in"):
        _load(tmp_path, keeps=keeps)


def test_public_data_have_no_files_to_skip(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^data\.unreadable: expected 'error', because digits has no image files"):
        load_dataset("digits", tmp_path, unreadable="skip")
