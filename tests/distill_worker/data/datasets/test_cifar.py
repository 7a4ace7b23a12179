"""CIFAR from pickled batches in the published layout; see `cifar_files`."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.datasets import CIFAR10

from distill_worker.data.datasets import load_dataset
from distill_worker.errors import DataError
from tests.distill_worker.data.datasets.cifar_files import write_cifar100, write_pickled

Published = tuple[Path, NDArray[np.uint8], list[int]]


@pytest.fixture
def published10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """Five batches of four images, and a test batch of three; each row is 1,024 red values, then green, then blue."""
    folder = tmp_path / "cifar-10-batches-py"
    rows = np.random.default_rng(0).integers(0, 256, (23, 3072), dtype=np.uint8)
    labels = [position % 10 for position in range(23)]
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    sums = [
        [name, write_pickled(folder, name, {"data": rows[4 * i : 4 * i + 4], "labels": labels[4 * i : 4 * i + 4]})]
        for i, name in enumerate(names)
    ]
    meta = write_pickled(folder, "batches.meta", {"label_names": [f"thing {label}" for label in range(10)]})
    monkeypatch.setattr(CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(CIFAR10, "test_list", sums[5:])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": meta})
    return tmp_path, rows, labels


def test_cifar10_has_the_pixels_and_labels_of_its_batches(published10: Published) -> None:
    root, rows, labels = published10
    dataset = load_dataset("cifar10", root)
    for split, part in ((dataset.train, slice(0, 20)), (dataset.test, slice(20, 23))):
        assert split.images.dtype == torch.uint8
        assert split.needed_labels.dtype == torch.int64
        assert split.needed_labels.tolist() == labels[part]
        for image, row in zip(split.images.numpy(), rows[part], strict=True):
            for channel in range(3):
                for line in range(32):
                    start = 1024 * channel + 32 * line
                    assert np.array_equal(image[channel, line], row[start : start + 32])
    assert dataset.class_names == tuple(f"thing {label}" for label in range(10))
    assert (dataset.crop_padding, dataset.horizontal_flip) == (4, True)
    assert dataset.mean == pytest.approx(rows[:20].reshape(20, 3, 1024).mean((0, 2)) / 255, abs=5e-5)
    assert dataset.std == pytest.approx(rows[:20].reshape(20, 3, 1024).std((0, 2)) / 255, abs=5e-5)


def test_cifar100_has_the_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(1).integers(0, 256, (5, 3072), dtype=np.uint8)
    fine = [99, 0, 50, 7, 7]
    write_cifar100(tmp_path, rows, fine, train=3, monkeypatch=monkeypatch)
    dataset = load_dataset("cifar100", tmp_path)
    assert dataset.train.needed_labels.tolist() == fine[:3]
    assert dataset.test.needed_labels.tolist() == fine[3:]
    assert np.array_equal(dataset.test.images.numpy(), rows[3:].reshape(2, 3, 32, 32))
    assert dataset.class_names == tuple(f"fine {label}" for label in range(100))
    assert (dataset.crop_padding, dataset.horizontal_flip) == (4, True)


class _Bomb:
    """What unpickles to a side effect."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self._mark), "w")


def test_pickle_that_is_not_the_published_one_is_never_opened(published10: Published, tmp_path: Path) -> None:
    root, _, _ = published10
    mark = tmp_path / "was opened"
    (root / "cifar-10-batches-py" / "data_batch_3").write_bytes(pickle.dumps(_Bomb(mark)))
    with pytest.raises(DataError, match=r"^cifar10: no readable files under .*as they were published"):
        load_dataset("cifar10", root)
    assert not mark.exists()


def test_absent_batch_is_named_among_those_looked_for(published10: Published) -> None:
    root, _, _ = published10
    (root / "cifar-10-batches-py" / "data_batch_4").unlink()
    with pytest.raises(DataError) as caught:
        load_dataset("cifar10", root)
    message = str(caught.value)
    assert "absent: cifar-10-batches-py/data_batch_4; on a machine with internet" in message
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        assert f"cifar-10-batches-py/{name}" in message
    assert f"CIFAR10({str(root)!r}, download=True)" in message


def test_damaged_class_names_are_refused(published10: Published) -> None:
    root, _, _ = published10
    (root / "cifar-10-batches-py" / "batches.meta").write_bytes(b"")
    with pytest.raises(DataError, match=r"^cifar10: no readable files"):
        load_dataset("cifar10", root)
