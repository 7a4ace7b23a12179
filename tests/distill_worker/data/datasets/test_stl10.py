"""STL-10 from binary files in the published layout.

As for CIFAR, the MD5 sums of the small files written here stand in torchvision's own tables for the published ones.
"""

from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.datasets import STL10

from distill_worker.data.datasets import load_dataset
from distill_worker.errors import DataError

Published = tuple[Path, dict[str, NDArray[np.uint8]]]
LABELS = {"train": [1, 10, 3], "test": [10, 2]}
NAMES = tuple(f"thing {label}" for label in range(10))


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """Each image is 96x96 red values, then green, then blue, column by column; labels count from 1."""
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    images = {}
    for part, labels in LABELS.items():
        images[part] = np.random.default_rng(len(labels)).integers(0, 256, (len(labels), 3, 96, 96), dtype=np.uint8)
        (folder / f"{part}_X.bin").write_bytes(images[part].tobytes())
        (folder / f"{part}_y.bin").write_bytes(bytes(labels))
    (folder / "unlabeled_X.bin").write_bytes(b"")
    (folder / "class_names.txt").write_text("\n".join(NAMES) + "\n")
    for table in ("train_list", "test_list"):
        sums = [
            [name, md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest()]
            for name, _ in getattr(STL10, table)
        ]
        monkeypatch.setattr(STL10, table, sums)
    return tmp_path, images


def test_pixels_and_labels_are_those_of_the_files(published: Published) -> None:
    """What was written column by column is read row by row."""
    root, images = published
    dataset = load_dataset("stl10", root)
    for split, part in ((dataset.train, "train"), (dataset.test, "test")):
        assert split.images.dtype == torch.uint8
        assert split.images.is_contiguous()
        assert split.needed_labels.dtype == torch.int64
        assert split.needed_labels.tolist() == [label - 1 for label in LABELS[part]]
        for sample in range(len(split.needed_labels)):
            for channel in range(3):
                assert np.array_equal(split.images[sample, channel].numpy(), images[part][sample, channel].T)
    assert dataset.class_names == NAMES
    assert (dataset.crop_padding, dataset.horizontal_flip) == (12, True)


@pytest.mark.parametrize("name", ["train_X.bin", "unlabeled_X.bin"])
def test_damaged_file_is_refused(published: Published, name: str) -> None:
    root, _ = published
    with (root / "stl10_binary" / name).open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match=r"^stl10: no readable files under .*as they were published"):
        load_dataset("stl10", root)


def test_absent_class_names_are_named(published: Published) -> None:
    """Torchvision would pass them over."""
    root, _ = published
    (root / "stl10_binary" / "class_names.txt").unlink()
    with pytest.raises(DataError, match=r"absent: stl10_binary/class_names.txt; on a machine"):
        load_dataset("stl10", root)
