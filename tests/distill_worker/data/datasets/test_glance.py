"""A look at image files says what loading them says, without decoding."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill_worker.data.datasets import load_dataset
from distill_worker.data.datasets.glance import glance
from distill_worker.errors import DataError


def _write(file: Path, number: int, shape: tuple[int, ...]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)).save(file)


def _classes(folder: Path, *shapes: tuple[int, ...]) -> Path:
    for number in range(12):
        _write(folder / ("ant", "bee")[number % 2] / f"{number}.png", number, shapes[number % len(shapes)])
    return folder


def test_folders_of_classes(tmp_path: Path) -> None:
    seen = glance(_classes(tmp_path, (8, 9)), has_labels=True)
    loaded = load_dataset("image-folder", tmp_path, path=tmp_path)
    assert seen.images == len(loaded.train.images) + len(loaded.test.images)
    assert (seen.channels, *seen.sizes[0]) == loaded.image_shape
    assert seen.class_names == loaded.class_names


def test_parts_count_together(tmp_path: Path) -> None:
    for part in ("train", "test"):
        _classes(tmp_path / part, (8, 8, 3))
    seen = glance(tmp_path, has_labels=True)
    assert (seen.images, seen.channels, seen.class_names) == (24, 3, ("ant", "bee"))


def test_sizes_are_listed_by_frequency(tmp_path: Path) -> None:
    seen = glance(_classes(tmp_path, (8, 9), (5, 5), (8, 9)), has_labels=True)
    assert seen.sizes == ((8, 9), (5, 5))


def test_images_without_labels(tmp_path: Path) -> None:
    for number in range(3):
        _write(tmp_path / f"{number}.png", number, (6, 7, 3))
    seen = glance(tmp_path, has_labels=False)
    assert (seen.images, seen.sizes, seen.channels, seen.class_names) == (3, ((6, 7),), 3, None)


def test_csv_file(tmp_path: Path) -> None:
    _classes(tmp_path, (8, 8))
    rows = "".join(f"{('ant', 'bee')[number % 2]}/{number}.png,{number % 2}\n" for number in range(12))
    (tmp_path / "list.csv").write_text(f"path,label\n{rows}")
    assert glance(tmp_path / "list.csv", has_labels=True).class_names == ("0", "1")
    assert glance(tmp_path / "list.csv", has_labels=False).images == 12


def test_folder_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected image files, got none"):
        glance(tmp_path, has_labels=False)
