"""MNIST and Fashion-MNIST from the idx files that they really come in."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distill_worker.data.datasets import load_dataset
from distill_worker.data.datasets.mnist import fashion_mnist
from distill_worker.errors import DataError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}


def _write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """The IDX format: two zero bytes, the code of uint8, the number of axes, big-endian sizes, then the values."""
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(head + values.tobytes())


@pytest.fixture(params=FOLDERS)
def name(request: pytest.FixtureRequest) -> str:
    """Each of the two."""
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path, name: str) -> Path:
    """Six training and four test images, in the files that torchvision downloads."""
    raw = tmp_path / FOLDERS[name] / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, samples in (("train", 6), ("t10k", 4)):
        _write_idx(raw / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (samples, 28, 28), dtype=np.uint8))
        _write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(samples, dtype=np.uint8))
    return tmp_path


def _pack(root: Path, name: str) -> list[Path]:
    """Leave only the .gz of each file, as on the publishers' pages."""
    packed = []
    for file in (root / FOLDERS[name] / "raw").iterdir():
        packed.append(file.with_name(f"{file.name}.gz"))
        packed[-1].write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    return packed


@pytest.mark.parametrize("packed", [False, True])
def test_pixels_and_labels_are_those_of_the_files(root: Path, name: str, packed: bool) -> None:
    if packed:
        _pack(root, name)
    dataset = load_dataset(name, root)
    rng = np.random.default_rng(0)
    for split, samples in ((dataset.train, 6), (dataset.test, 4)):
        expected = rng.integers(0, 256, (samples, 28, 28), dtype=np.uint8)[:, None]
        assert np.array_equal(split.images.numpy(), expected)
        assert split.images.dtype == torch.uint8
        assert split.needed_labels.tolist() == list(range(samples))
        assert split.needed_labels.dtype == torch.int64
    assert dataset.name == name
    assert dataset.image_shape == (1, 28, 28)
    assert len(dataset.class_names) == 10
    assert dataset.horizontal_flip == (name == "fashion-mnist")
    assert not list(root.rglob("*.part"))


def _overwrite(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-10]),
        _overwrite(b""),
        _overwrite(b"<!DOCTYPE html><title>404</title>"),
        lambda path: _write_idx(path, np.zeros((5, 28, 28), dtype=np.uint8)),
    ],
    ids=["cut short", "empty", "a web page", "fewer images than labels"],
)
def test_damaged_file_is_explained(root: Path, name: str, damage: Callable[[Path], object]) -> None:
    damage(root / FOLDERS[name] / "raw" / "train-images-idx3-ubyte")
    with pytest.raises(DataError, match=name):
        load_dataset(name, root)


def test_label_beyond_the_classes_is_refused(root: Path, name: str) -> None:
    _write_idx(root / FOLDERS[name] / "raw" / "t10k-labels-idx1-ubyte", np.array([0, 1, 2, 10], dtype=np.uint8))
    with pytest.raises(DataError, match=f"{name}: test: expected labels from 0 to 9, got 0 to 10"):
        load_dataset(name, root)


def test_damaged_gz_is_named_and_leaves_nothing_behind(root: Path, name: str) -> None:
    for file in _pack(root, name):
        file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(DataError, match=r"cannot unpack .*-ubyte.gz into it"):
        load_dataset(name, root)
    assert {file.suffix for file in (root / FOLDERS[name] / "raw").iterdir()} == {".gz"}


def test_absent_fashion_mnist_says_how_to_get_it(tmp_path: Path) -> None:
    """On a machine without Debian's package, which this one may have."""
    with pytest.raises(DataError, match=r"no readable files under .*dataset-fashion-mnist.*download=True"):
        fashion_mnist(tmp_path, debian_package=tmp_path / "absent")


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_unpacked_from_debians_package(tmp_path: Path) -> None:
    """The real 70,000 images, ten equal classes, and no partial file left."""
    fashion = load_dataset("fashion-mnist", tmp_path)
    assert fashion.train.images.shape == (60_000, 1, 28, 28)
    assert torch.bincount(fashion.train.needed_labels).tolist() == [6000] * 10
    assert torch.bincount(fashion.test.needed_labels).tolist() == [1000] * 10
    assert (fashion.mean, fashion.std) == ((0.286,), (0.353,))
    assert len(list((tmp_path / "FashionMNIST" / "raw").iterdir())) == 4


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_folder_that_cannot_be_written_is_named(below_a_file: Path) -> None:
    with pytest.raises(DataError, match=f"{below_a_file}.*cannot unpack"):
        load_dataset("fashion-mnist", below_a_file)
