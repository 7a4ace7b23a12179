"""Small archives of CIFAR in the published layout.

torchvision opens a file only when its MD5 sum is the published one. Archives written here are small, so their sums take
the place of the published ones in torchvision's own tables; all the code that reads and compares is the real one.
"""

import struct
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torchvision.datasets import CIFAR100


def write_cifar100(
    root: Path, rows: NDArray[np.uint8], fine: list[int], *, train: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CIFAR-100 of a few images.

    Args:
        root: the folder to unpack the archive in.
        rows: the pixels of each image, uint8 `[images, 3072]`.
        fine: their classes.
        train: how many of them are for training; the others are for testing.
        monkeypatch: makes torchvision accept the files.
    """
    folder = root / "cifar-100-python"
    parts = (("train", slice(0, train)), ("test", slice(train, len(rows))))
    sums = [[name, write_pickled(folder, name, _content(rows[part], fine[part]))] for name, part in parts]
    names = [f"fine {label}" for label in range(100)]
    meta = write_pickled(folder, "meta", {"fine_label_names": names, "coarse_label_names": ["coarse"] * 20})
    monkeypatch.setattr(CIFAR100, "train_list", sums[:1])
    monkeypatch.setattr(CIFAR100, "test_list", sums[1:])
    monkeypatch.setattr(CIFAR100, "meta", CIFAR100.meta | {"md5": meta})


def _content(rows: NDArray[np.uint8], fine: list[int]) -> dict[str, Any]:
    return {"data": rows, "coarse_labels": [1] * len(fine), "fine_labels": fine}


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


def write_pickled(folder: Path, name: str, content: dict[str, Any]) -> str:
    """Write a file as it is published; its MD5 sum."""
    folder.mkdir(parents=True, exist_ok=True)
    data = b"\x80\x02" + _python2_pickle(content) + b"."
    (folder / name).write_bytes(data)
    return md5(data, usedforsecurity=False).hexdigest()
