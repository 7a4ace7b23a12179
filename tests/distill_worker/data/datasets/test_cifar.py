"""CIFAR from pickled batches in the published layout.

torchvision opens a file only when its MD5 sum is the published one. Archives written here are small, so their sums take
the place of the published ones in torchvision's own tables; all the code that reads and compares is the real one.
"""

import pickle
import struct
from collections.abc import Callable
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.datasets import CIFAR10, CIFAR100

from distill_worker.data.datasets import load_dataset
from distill_worker.errors import DataError

Published = tuple[Path, NDArray[np.uint8], list[int]]


def _python2_pickle(value: Any) -> bytes:
    """The opcodes that Python 2 and its NumPy wrote, protocol 2: strings are bytes, a dtype is made with integers."""
    match value:
        case str():
            data = value.encode("latin1")
            return b"T" + struct.pack("<I", len(data)) + data
        case int():
            return b"J" + struct.pack("<i", value)
        case list():
            return b"](" + b"".join(_python2_pickle(item) for item in value) + b"e"
        case dict():
            return b"}(" + b"".join(_python2_pickle(item) for pair in value.items() for item in pair) + b"u"
    assert isinstance(value, np.ndarray)
    rows, columns = value.shape
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    shape = b"J" + struct.pack("<i", rows) + b"J" + struct.pack("<i", columns) + b"\x86"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    pixels: bytes = b"T" + struct.pack("<I", value.size) + value.tobytes()
    return empty + b"(K\x01" + shape + dtype + b"\x89" + pixels + b"tb"


def _write(folder: Path, name: str, content: dict[str, Any]) -> str:
    """Returns the MD5 sum."""
    folder.mkdir(parents=True, exist_ok=True)
    data = b"\x80\x02" + _python2_pickle(content) + b"."
    (folder / name).write_bytes(data)
    return md5(data, usedforsecurity=False).hexdigest()


@pytest.fixture
def published10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """Five batches of four images, and a test batch of three; each row is 1,024 red values, then green, then blue."""
    folder = tmp_path / "cifar-10-batches-py"
    rows = np.random.default_rng(0).integers(0, 256, (23, 3072), dtype=np.uint8)
    labels = [position % 10 for position in range(23)]
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    sums = [
        [name, _write(folder, name, {"data": rows[4 * i : 4 * i + 4], "labels": labels[4 * i : 4 * i + 4]})]
        for i, name in enumerate(names)
    ]
    meta = _write(folder, "batches.meta", {"label_names": [f"thing {label}" for label in range(10)]})
    monkeypatch.setattr(CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(CIFAR10, "test_list", sums[5:])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": meta})
    return tmp_path, rows, labels


def test_cifar10_has_the_pixels_and_labels_of_its_batches(published10: Published) -> None:
    root, rows, labels = published10
    dataset = load_dataset("cifar10", root)
    for split, part in ((dataset.train, slice(0, 20)), (dataset.test, slice(20, 23))):
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert split.labels.tolist() == labels[part]
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
    folder = tmp_path / "cifar-100-python"
    rows = np.random.default_rng(1).integers(0, 256, (5, 3072), dtype=np.uint8)
    fine = [99, 0, 50, 7, 7]
    sums = [
        [name, _write(folder, name, {"data": rows[part], "coarse_labels": [1] * 5, "fine_labels": fine[part]})]
        for name, part in (("train", slice(0, 3)), ("test", slice(3, 5)))
    ]
    names = [f"fine {label}" for label in range(100)]
    meta = _write(folder, "meta", {"fine_label_names": names, "coarse_label_names": ["coarse"] * 20})
    monkeypatch.setattr(CIFAR100, "train_list", sums[:1])
    monkeypatch.setattr(CIFAR100, "test_list", sums[1:])
    monkeypatch.setattr(CIFAR100, "meta", CIFAR100.meta | {"md5": meta})
    dataset = load_dataset("cifar100", tmp_path)
    assert dataset.train.labels.tolist() == fine[:3]
    assert dataset.test.labels.tolist() == fine[3:]
    assert np.array_equal(dataset.test.images.numpy(), rows[3:].reshape(2, 3, 32, 32))
    assert dataset.class_names == tuple(names)
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
