"""SVHN from MATLAB files in the published layout.

As for CIFAR, the MD5 sums of the small files written here stand in torchvision's own table for the published ones.
"""

from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.io import savemat
from torchvision.datasets import SVHN

from distill_worker.data.datasets import load_dataset
from distill_worker.errors import DataError

Published = tuple[Path, dict[str, NDArray[np.uint8]]]
LABELS = {"train": [10, 1, 9, 10, 5], "test": [2, 10]}


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """X is [height, width, channel, sample], y is [sample, 1] with 10 for the digit 0."""
    images, table = {}, dict(SVHN.split_list)
    for part, labels in LABELS.items():
        images[part] = np.random.default_rng(len(labels)).integers(0, 256, (32, 32, 3, len(labels)), dtype=np.uint8)
        file = tmp_path / f"{part}_32x32.mat"
        savemat(file, {"X": images[part], "y": np.array(labels, dtype=np.uint8)[:, None]}, do_compression=True)
        table[part] = [*table[part][:2], md5(file.read_bytes(), usedforsecurity=False).hexdigest()]
    monkeypatch.setattr(SVHN, "split_list", table)
    return tmp_path, images


def test_pixels_and_labels_are_those_of_the_files(published: Published) -> None:
    root, images = published
    dataset = load_dataset("svhn", root)
    for split, part in ((dataset.train, "train"), (dataset.test, "test")):
        assert split.images.dtype == torch.uint8
        assert split.images.is_contiguous()
        assert split.needed_labels.dtype == torch.int64
        assert split.needed_labels.tolist() == [label % 10 for label in LABELS[part]]
        for sample in range(len(split.needed_labels)):
            for channel in range(3):
                assert np.array_equal(split.images[sample, channel].numpy(), images[part][:, :, channel, sample])
    assert dataset.class_names == tuple("0123456789")
    assert (dataset.crop_padding, dataset.horizontal_flip) == (0, False)


def test_damaged_file_is_refused(published: Published) -> None:
    root, _ = published
    file = root / "test_32x32.mat"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"^svhn: no readable files under .*as they were published"):
        load_dataset("svhn", root)


def test_absent_file_is_named(published: Published) -> None:
    root, _ = published
    (root / "test_32x32.mat").unlink()
    with pytest.raises(
        DataError, match=r"expected train_32x32.mat, test_32x32.mat; absent: test_32x32.mat; on a machine"
    ):
        load_dataset("svhn", root)
