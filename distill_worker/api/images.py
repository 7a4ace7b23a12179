"""Images that Python code has, as data that a run reads: a path, or one .npz file of arrays beside the cache.

Invariant: a file of arrays is named by a digest of what is in it, and never written again. So a run from Python has its
data on disk, as any run has: it is resumed, reported and evaluated by the command line, too.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from distill_worker.cli.stated_run import kind_of
from distill_worker.config.places import expanded, working_directory
from distill_worker.data.datasets.archive_of_arrays import save_arrays
from distill_worker.data.datasets.arrays import images_from
from distill_worker.data.pictures.conversion import OpenPicture, Shape, UnfitPicture, pixels_of
from distill_worker.data.pictures.rules import NEWEST
from distill_worker.errors import ConfigError, DataError
from shared.atomic_file import atomic_replacement

_OFF_BY: Final = 1e-3
"""How far a floating-point value times 255 may be from a whole number."""
_CHUNK: Final = 1024
_FOLDER: Final = "images"
_WITHOUT_CACHE_FILE: Final = Path("runs") / _FOLDER
"""The folder of arrays, below the working directory, if the cache is in a database."""


@runtime_checkable
class MapDataset(Protocol):
    """A torch Dataset of the map style, or any sequence: `[image]`, or `[(image, label, ...)]`."""

    def __len__(self) -> int:
        """How many samples it has."""

    def __getitem__(self, index: int, /) -> Any:
        """A sample."""


Pixels = NDArray[np.uint8]
Labels = NDArray[Any] | torch.Tensor | Sequence[int] | Sequence[str]
Images = str | os.PathLike[str] | NDArray[Any] | torch.Tensor | MapDataset
"""Arrays or tensors `[n, channels, height, width]`, `[n, height, width]` or `[n, height, width, channels]`; a Dataset
or a sequence of pictures, arrays or tensors; or the path of data that `distill-worker run --data` reads."""
LabelledImages = tuple[NDArray[Any] | torch.Tensor, Labels] | MapDataset
"""Images with their labels, or a Dataset of both."""


@dataclass(frozen=True)
class Arrays:
    """Images in memory, with labels and test images if there are any."""

    images: Pixels
    """uint8 `[samples, channels, height, width]`."""
    labels: NDArray[Any] | None = None
    test_images: Pixels | None = None
    test_labels: NDArray[Any] | None = None
    class_names: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """A hash of all of them."""
        hashed = sha256()
        for name, values in self._named().items():
            hashed.update(f"{name}:{values.dtype.str}:{values.shape}:".encode())
            hashed.update(np.ascontiguousarray(values).data if values.size else b"")
        return hashed.hexdigest()[:16]

    def kept(self, folder: Path) -> Path:
        """The file of these arrays in a folder, which is written unless it is there. Raises `DataError`."""
        file = folder / f"{self.digest}.npz"
        try:
            if not file.exists():
                folder.mkdir(parents=True, exist_ok=True)
                partial = file.with_name(f".{file.stem}-{os.getpid()}.npz")  # of this process alone
                with atomic_replacement(file, partial=partial) as path:
                    save_arrays(path, self._named())
        except OSError as error:
            raise DataError(
                f"{file}: cannot keep the images there ({error.strerror or error}); free some space, or put the cache "
                "into another folder"
            ) from error
        return file

    def _named(self) -> dict[str, NDArray[Any]]:
        named = {
            "train_images": self.images,
            "train_labels": self.labels,
            "test_images": self.test_images,
            "test_labels": self.test_labels,
            "class_names": np.array(self.class_names) if self.class_names else None,
        }
        return {name: values for name, values in named.items() if values is not None}


def folder_of(cache: Path | str) -> Path:
    """The folder for arrays and selections that belong to a cache: beside its file."""
    if isinstance(cache, str):
        return working_directory() / _WITHOUT_CACHE_FILE
    return cache.with_name(f"{cache.stem}-{_FOLDER}")


def given_images(images: Images, *, name: str = "images", image_size: tuple[int, int] | None = None) -> Path | Arrays:
    """What a caller gave as images: a path that is there, or arrays, whose labels are left out.

    Raises:
        ConfigError: it is nothing of the kind, or nothing is at the path.
        DataError: the values or shapes are not clearly those of images.
    """
    if isinstance(images, str | os.PathLike):
        path = expanded(os.fspath(images))
        if not path.exists():
            raise ConfigError(f"{name}: expected a folder or a file with your data, got {path}, which is not there")
        return working_directory() / path
    if isinstance(images, np.ndarray | torch.Tensor):
        return Arrays(pixels_from(_array(images), name))
    each = [sample[0] if isinstance(sample, tuple | list) else sample for sample in _samples(images, name)]
    return Arrays(_pixels_of_each(each, name, image_size))


def labelled_arrays(given: LabelledImages, *, name: str) -> tuple[Pixels, NDArray[Any]]:
    """Images with their labels, `[samples]`.

    Raises:
        ConfigError: there are no labels; DataError: see `given_images`.
    """
    if isinstance(given, tuple) and isinstance(given[0], np.ndarray | torch.Tensor):
        return pixels_from(_array(given[0]), name), label_array(given[1], name)
    samples = _samples(given, name)
    if all(isinstance(sample, tuple | list) and len(sample) > 1 for sample in samples):
        return (
            _pixels_of_each([sample[0] for sample in samples], name, None),
            label_array([sample[1] for sample in samples], name),
        )
    raise ConfigError(
        f"{name}: expected images and their labels, as (images, labels) or a Dataset of (image, label), got "
        f"{type(given).__name__}"
    )


def label_array(labels: Labels, name: str) -> NDArray[Any]:
    """Labels as an array `[samples]` of integers or names. Raises `ConfigError`."""
    if not isinstance(labels, np.ndarray | torch.Tensor):
        labels = np.asarray(
            [label.item() if isinstance(label, np.generic | torch.Tensor) else label for label in labels]
        )
    array = _array(labels)
    if array.dtype.kind not in "iuU" or array.ndim not in (1, 2):
        raise ConfigError(
            f"{name}: expected integers or names [samples] as labels, got {array.dtype} {list(array.shape)}"
        )
    return array


def with_labels(arrays: Arrays, labels: Labels) -> Arrays:
    """The arrays with the labels of their images. Raises `ConfigError`."""
    values = label_array(labels, "labels")
    if len(values) != len(arrays.images):
        raise ConfigError(f"labels: expected one for each of {len(arrays.images)} images, got {len(values)}")
    return replace(arrays, labels=values)


def data_section(given: Path | Arrays, folder: Path) -> dict[str, Any]:
    """The section `[data]` of given images; arrays are kept in the folder. Raises `DataError`."""
    if isinstance(given, Path):
        return {"name": kind_of(given), "path": str(given)}
    return {"name": "npz", "path": str(given.kept(folder)), **({} if given.labels is not None else {"labels": "none"})}


def pixels_from(array: NDArray[Any], name: str) -> Pixels:
    """uint8 `[samples, channels, height, width]` from an array of images.

    Raises:
        DataError: another shape, or values that are neither pixels nor multiples of 1/255 from 0 to 1.
    """
    if array.dtype.kind == "f":
        _check_multiples(array, name)
        images, scale = images_from(array, where=name)
        if scale != "0 to 1":
            raise DataError(f"{name}: expected floating-point values from 0 to 1, got values up to 255; use uint8")
        return images
    return images_from(array, where=name)[0]


def _check_multiples(array: NDArray[Any], name: str) -> None:
    for start in range(0, len(array), _CHUNK):
        pixels = array[start : start + _CHUNK].astype(np.float64) * 255
        if not (np.isfinite(pixels).all() and (np.abs(pixels - np.rint(pixels)) <= _OFF_BY).all()):
            raise DataError(
                f"{name}: expected uint8 pixels, or multiples of 1/255 from 0 to 1, as ToTensor gives them, got other "
                f"floating-point values, from {array.min():.4g} to {array.max():.4g}. A sample is known by its pixels: "
                "give the images before they are normalised, resized or augmented"
            )
        if pixels.size and (pixels.min() < -_OFF_BY or pixels.max() > 255 + _OFF_BY):
            raise DataError(
                f"{name}: expected floating-point values from 0 to 1, got {array.min():.4g} to {array.max():.4g}; "
                "give pixels of 0 to 255 as uint8"
            )


def _array(values: NDArray[Any] | torch.Tensor) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values


def _samples(images: object, name: str) -> list[Any]:
    """All samples of a Dataset."""
    if not isinstance(images, MapDataset) or isinstance(images, bytes | dict):
        raise ConfigError(
            f"{name}: expected an array, a tensor, a Dataset with a length, or a path, got {type(images).__name__}; "
            "collect the samples of an iterable Dataset in a list"
        )
    samples = [images[place] for place in range(len(images))]
    if not samples:
        raise DataError(f"{name}: expected images, got none")
    return samples


def _pixels_of_each(images: Sequence[Any], name: str, image_size: tuple[int, int] | None) -> Pixels:
    """uint8 `[samples, channels, height, width]` of pictures, or of arrays without an axis of samples."""
    if all(isinstance(image, Image.Image) for image in images):
        return _pixels_of_pictures(images, name, image_size)
    arrays = [_array(image) for image in images if isinstance(image, np.ndarray | torch.Tensor)]
    if len(arrays) < len(images):
        kinds = sorted({type(image).__name__ for image in images})
        raise ConfigError(
            f"{name}: expected pictures (PIL), arrays or tensors, all of one kind, got {', '.join(kinds)}"
        )
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise DataError(f"{name}: expected images of one shape, got {', '.join(str(list(one)) for one in shapes[:3])}")
    return pixels_from(np.stack(arrays), name)


def _pixels_of_pictures(pictures: Sequence[Image.Image], name: str, image_size: tuple[int, int] | None) -> Pixels:
    """As files of these pictures are read: grey if all are, upright, opaque, in sRGB."""
    try:
        opened = [OpenPicture(picture, NEWEST) for picture in pictures]
        heads = [picture.head() for picture in opened]
        sizes = sorted({head.size for head in heads})
        if image_size is None and len(sizes) > 1:
            raise DataError(
                f"{name}: expected pictures of one size, or image_size=(height, width), got "
                f"{', '.join(f'{height}x{width}' for height, width in sizes[:3])} (height x width)"
            )
        shape = Shape("L" if all(head.is_grey for head in heads) else "RGB", *(image_size or sizes[0]))
        return np.stack([pixels_of(picture.converted(shape)) for picture in opened])
    except UnfitPicture as error:
        raise DataError(f"{name}: {error}") from error
