"""Fixed splits of canonical pixels, from the packages and file formats that they really come in."""

import struct
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distill_worker import datasets
from distill_worker.datasets import Split, load_dataset
from distill_worker.errors import DataError
from shared.sample_key import sample_keys

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def _keys(split: Split) -> list[bytes]:
    return sample_keys(split.images.numpy())


def test_digits_split_is_fixed(tmp_path: Path) -> None:
    """1,297 and 500 samples whose keys, in order, have a known digest: the split is part of every result."""
    digits = load_dataset("digits", tmp_path)
    for split, samples in ((digits.train, 1297), (digits.test, 500)):
        assert split.images.shape == (samples, 1, 8, 8)
        assert split.labels.shape == (samples,)
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
    assert sha256(b"".join(_keys(digits.train))).hexdigest()[:16] == "ccd88514e0318fb7"
    assert sha256(b"".join(_keys(digits.test))).hexdigest()[:16] == "01019c9884dc26d4"
    assert set(_keys(digits.train)).isdisjoint(_keys(digits.test))
    assert digits.image_shape == (1, 8, 8)
    assert digits.class_names == tuple("0123456789")
    assert not digits.horizontal_flip


def test_digits_keep_their_labels_and_their_pixels(tmp_path: Path) -> None:
    """By the raw data set's own order: a pixel of 0..16 is 255/16 of it, rounded."""
    from sklearn.datasets import load_digits

    digits, raw = load_dataset("digits", tmp_path), load_digits()
    images = np.rint(raw.data * 255 / 16).astype(np.uint8).reshape(-1, 1, 8, 8)
    label_of = dict(zip(sample_keys(images), raw.target.tolist(), strict=True))
    for split in (digits.train, digits.test):
        assert [label_of[key] for key in _keys(split)] == split.labels.tolist()


def test_mean_and_deviation_are_those_of_the_training_pixels(tmp_path: Path) -> None:
    digits = load_dataset("digits", tmp_path)
    pixels = digits.train.images.numpy() / 255
    assert digits.mean == pytest.approx([pixels.mean()], abs=5e-5)
    assert digits.std == pytest.approx([pixels.std()], abs=5e-5)


def test_unknown_data_set_is_refused_and_the_known_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="digits, fashion-mnist, got 'imagenet'"):
        load_dataset("imagenet", tmp_path)


def _write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """The IDX format: two zero bytes, the code of uint8, the number of axes, big-endian sizes, then the values."""
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(head + values.tobytes())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six training and four test images, in the files that torchvision downloads."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, samples in (("train", 6), ("t10k", 4)):
        _write_idx(raw / f"{name}-images-idx3-ubyte", rng.integers(0, 256, (samples, 28, 28), dtype=np.uint8))
        _write_idx(raw / f"{name}-labels-idx1-ubyte", np.arange(samples, dtype=np.uint8))
    return tmp_path


def test_fashion_mnist_is_read_from_torchvisions_files(root: Path) -> None:
    fashion = load_dataset("fashion-mnist", root)
    rng = np.random.default_rng(0)
    for split, samples in ((fashion.train, 6), (fashion.test, 4)):
        expected = rng.integers(0, 256, (samples, 28, 28), dtype=np.uint8)[:, None]
        assert np.array_equal(split.images.numpy(), expected)
        assert split.images.dtype == torch.uint8
        assert split.labels.tolist() == list(range(samples))
        assert split.labels.dtype == torch.int64
    assert fashion.image_shape == (1, 28, 28)
    assert len(fashion.class_names) == 10
    assert fashion.horizontal_flip


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
def test_damaged_fashion_mnist_is_explained(root: Path, damage: Callable[[Path], object]) -> None:
    damage(root / "FashionMNIST" / "raw" / "train-images-idx3-ubyte")
    with pytest.raises(DataError, match="fashion-mnist"):
        load_dataset("fashion-mnist", root)


def test_absent_fashion_mnist_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without Debian's package, which this one may have."""
    monkeypatch.setattr(datasets, "_DEBIAN_FASHION_MNIST", tmp_path / "absent")
    with pytest.raises(DataError, match=r"no readable files under .*dataset-fashion-mnist.*download=True"):
        load_dataset("fashion-mnist", tmp_path)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_unpacked_from_debians_package(tmp_path: Path) -> None:
    """The real 70,000 images, ten equal classes, and no partial file left."""
    fashion = load_dataset("fashion-mnist", tmp_path)
    assert fashion.train.images.shape == (60_000, 1, 28, 28)
    assert torch.bincount(fashion.train.labels).tolist() == [6000] * 10
    assert torch.bincount(fashion.test.labels).tolist() == [1000] * 10
    assert (fashion.mean, fashion.std) == ((0.286,), (0.353,))
    assert len(list((tmp_path / "FashionMNIST" / "raw").iterdir())) == 4


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_folder_that_cannot_be_written_is_named(below_a_file: Path) -> None:
    with pytest.raises(DataError, match=f"{below_a_file}.*cannot unpack"):
        load_dataset("fashion-mnist", below_a_file)
