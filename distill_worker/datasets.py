"""Data sets as uint8 tensors, each with a fixed split.

Invariant: `images` hold the canonical pixels, the ones that are hashed, sent to the teacher and augmented.
"""

import gzip
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distill_worker.errors import DataError
from shared.sample_key import sample_keys

_DIGITS_TEST_SAMPLES = 500
_DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
_FASHION_MNIST_FILES = tuple(
    f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)


@dataclass(frozen=True)
class Split:
    """Samples and their labels, in a fixed order."""

    images: Tensor
    """uint8 `[samples, channels, height, width]`."""
    labels: Tensor
    """int64 `[samples]`."""


@dataclass(frozen=True)
class Dataset:
    """A data set and what is known of it."""

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    """Per channel, in units of pixel / 255, over the training images."""
    std: tuple[float, ...]
    crop_padding: int
    horizontal_flip: bool

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


def load_dataset(name: str, root: Path) -> Dataset:
    """A data set by name; `root` is the folder that downloaded data sets live in.

    Raises:
        DataError: no such data set, or its files are missing or damaged.
    """
    loader = _LOADERS.get(name)
    if loader is None:
        raise DataError(f"data.name: expected one of {', '.join(_LOADERS)}, got {name!r}")
    return loader(root)


def _digits(_root: Path) -> Dataset:
    """The 1,797 8x8 digits that scikit-learn ships.

    The split goes by sample key, so it depends on no random generator, and equal images fall on one side.
    """
    from sklearn.datasets import load_digits  # slow to import, needed here alone

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    order = np.array(sorted(range(len(pixels)), key=sample_keys(pixels).__getitem__))
    images, labels = torch.from_numpy(pixels[order]), torch.from_numpy(bunch.target[order].astype(np.int64))
    train = Split(images[:-_DIGITS_TEST_SAMPLES], labels[:-_DIGITS_TEST_SAMPLES])
    test = Split(images[-_DIGITS_TEST_SAMPLES:], labels[-_DIGITS_TEST_SAMPLES:])
    names = tuple(str(name) for name in bunch.target_names)
    return _described("digits", train, test, names, crop_padding=1, horizontal_flip=False)


def _fashion_mnist(root: Path) -> Dataset:
    """Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747) from torchvision's folder, or from Debian's package."""
    from torchvision.datasets import FashionMNIST

    _unpack_debian_package(root / "FashionMNIST" / "raw")
    try:
        train, test = (FashionMNIST(str(root), train=part, download=False) for part in (True, False))
    except (RuntimeError, OSError, ValueError, AssertionError, KeyError, TypeError) as error:
        raise DataError(
            f"fashion-mnist: no readable files under {root} ({_first_line(error)}); either install Debian's "
            "package dataset-fashion-mnist, or run torchvision.datasets.FashionMNIST(root, download=True) once"
        ) from error
    train_split, test_split = (Split(part.data.unsqueeze(1), part.targets.to(torch.int64)) for part in (train, test))
    for split in (train_split, test_split):
        if len(split.images) != len(split.labels):
            raise DataError(
                f"fashion-mnist: {len(split.images)} images but {len(split.labels)} labels under {root}; the files are "
                "damaged: replace them"
            )
    names = tuple(train.classes)
    return _described("fashion-mnist", train_split, test_split, names, crop_padding=2, horizontal_flip=True)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _unpack_debian_package(raw: Path) -> None:
    for name in _FASHION_MNIST_FILES:
        packed, unpacked = _DEBIAN_FASHION_MNIST / f"{name}.gz", raw / name
        if unpacked.exists() or not packed.exists():
            continue
        try:
            raw.mkdir(parents=True, exist_ok=True)
            partial = unpacked.with_suffix(".part")
            with gzip.open(packed) as source, partial.open("wb") as target:
                shutil.copyfileobj(source, target)
            partial.replace(unpacked)
        except OSError as error:
            raise DataError(f"{raw}: cannot unpack Fashion-MNIST there ({error})") from error


def _described(
    name: str, train: Split, test: Split, class_names: tuple[str, ...], *, crop_padding: int, horizontal_flip: bool
) -> Dataset:
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in train.images.unbind(1)])
    values = torch.arange(256, dtype=torch.float64) / 255
    shares = counts.to(torch.float64) / counts.sum(1, keepdim=True)
    centre = shares @ values
    spread = (shares @ values.square() - centre.square()).sqrt()
    mean, std = (tuple(round(float(value), 4) for value in part) for part in (centre, spread))
    return Dataset(name, train, test, class_names, mean, std, crop_padding, horizontal_flip)


_LOADERS: Mapping[str, Callable[[Path], Dataset]] = {"digits": _digits, "fashion-mnist": _fashion_mnist}
