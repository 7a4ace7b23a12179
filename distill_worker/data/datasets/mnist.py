"""MNIST and Fashion-MNIST: idx files in torchvision's folder, unpacked there if only their .gz files exist."""

import gzip
import os
import shutil
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from distill_worker.data.datasets import DEBIAN_FASHION_MNIST
from distill_worker.data.datasets.archive import download_with, read_parts
from distill_worker.data.datasets.dataset import Dataset, Split
from distill_worker.data.datasets.described import described
from distill_worker.errors import DataError
from shared.atomic_file import atomic_replacement

_FILES = tuple(f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))


def mnist(root: Path) -> Dataset:
    """MNIST, 28x28 handwritten digits (LeCun et al. 1998)."""
    raw = root / "MNIST" / "raw"
    _unpack(raw, [raw])
    train, test, _ = _read("mnist", root, "MNIST", download_with("MNIST", f"{str(root)!r}"))
    return described("mnist", train, test, tuple("0123456789"), crop_padding=2, horizontal_flip=False)


def fashion_mnist(root: Path, *, debian_package: Path = DEBIAN_FASHION_MNIST) -> Dataset:
    """Fashion-MNIST, 28x28 clothes (Xiao et al. 2017, arXiv 1708.07747), or Debian's package of it."""
    raw = root / "FashionMNIST" / "raw"
    _unpack(raw, [raw, debian_package])
    remedy = (
        f"either install Debian's package dataset-fashion-mnist, or {download_with('FashionMNIST', repr(str(root)))}"
    )
    train, test, class_names = _read("fashion-mnist", root, "FashionMNIST", remedy)
    return described("fashion-mnist", train, test, class_names, crop_padding=2, horizontal_flip=True)


def _read(name: str, root: Path, class_name: str, remedy: str) -> tuple[Split, Split, Sequence[str]]:
    from torchvision import datasets  # slow to import

    read = getattr(datasets, class_name)
    parts = [partial(read, str(root), train=part, download=False) for part in (True, False)]
    train, test = read_parts(name, root, [f"{class_name}/raw/{file}" for file in _FILES], parts, remedy=remedy)
    return Split(train.data.unsqueeze(1), train.targets), Split(test.data.unsqueeze(1), test.targets), train.classes


def _unpack(raw: Path, folders: Sequence[Path]) -> None:
    """Every file that is in one of the folders as .gz, and not yet in `raw`."""
    for name in _FILES:
        packed = next((file for folder in folders if (file := folder / f"{name}.gz").is_file()), None)
        if packed is None or (raw / name).exists():
            continue
        # Runs that start together unpack each for itself; the last to finish replaces equal bytes.
        unpacked = raw / f".{name}.{os.getpid()}.part"
        try:
            raw.mkdir(parents=True, exist_ok=True)
            with (
                atomic_replacement(raw / name, partial=unpacked),
                gzip.open(packed) as source,
                unpacked.open("wb") as target,
            ):
                shutil.copyfileobj(source, target)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{raw}: cannot unpack {packed} into it ({error}); free some space, or replace the archive"
            ) from error
