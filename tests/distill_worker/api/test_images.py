"""Images in all the forms in which Python code has them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from distill_worker.api.images import (
    Arrays,
    data_section,
    folder_of,
    given_images,
    labelled_arrays,
    with_labels,
)
from distill_worker.data.datasets import load_dataset
from distill_worker.errors import ConfigError, DataError

Pixels = NDArray[np.uint8]


class _Samples(Dataset[Any]):
    """A Dataset of what it is given."""

    def __init__(self, samples: list[Any]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, place: int) -> Any:
        return self._samples[place]


def _as_float(images: Pixels) -> torch.Tensor:
    """As ToTensor makes it."""
    return torch.from_numpy(images).float().div(255)


_FORMS: dict[str, Any] = {
    "array": lambda images: images,
    "tensor": torch.from_numpy,
    "without an axis of channels": lambda images: images[:, 0],
    "channels last": lambda images: images.transpose(0, 2, 3, 1),
    "floats": _as_float,
    "doubles": lambda images: images / 255,
    "list of arrays": list,
    "dataset of tensors": lambda images: _Samples([(_as_float(one), 3) for one in images]),
    "dataset of pictures": lambda images: _Samples([Image.fromarray(one[0]) for one in images]),
    "dataset of pictures and labels": lambda images: _Samples([(Image.fromarray(one[0]), 1, "x") for one in images]),
}


@pytest.mark.parametrize("form", _FORMS)
def test_form_gives_the_same_pixels(images: Pixels, form: str) -> None:
    given = given_images(_FORMS[form](images))
    assert isinstance(given, Arrays)
    np.testing.assert_array_equal(given.images, images)


def test_colours_stay() -> None:
    """Pictures are grey only if all of them are."""
    colour = np.random.default_rng(1).integers(0, 256, (4, 3, 6, 5), np.uint8)
    pictures = [Image.fromarray(one.transpose(1, 2, 0)) for one in colour]
    for given in (given_images(colour), given_images(pictures), given_images(colour.transpose(0, 2, 3, 1))):
        assert isinstance(given, Arrays)
        np.testing.assert_array_equal(given.images, colour)
    mixed = given_images([pictures[0], Image.new("L", (5, 6), 7)])
    assert isinstance(mixed, Arrays)
    assert mixed.images.shape == (2, 3, 6, 5)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (np.zeros((4, 1, 8, 8)) + 0.3333, DataError, "multiples of 1/255 from 0 to 1, as ToTensor gives them"),
        (np.full((4, 1, 8, 8), -1 / 255), DataError, "floating-point values from 0 to 1, got -0.0039"),
        (np.full((4, 1, 8, 8), 200.0), DataError, "floating-point values from 0 to 1, got 200"),
        (np.full((4, 1, 8, 8), np.nan), DataError, "multiples of 1/255"),
        (np.zeros((4, 1, 8, 8), np.int64), DataError, "expected uint8"),
        (np.zeros((4, 5, 8, 8), np.uint8), DataError, "with 1 or 3 channels"),
        (np.zeros((8, 8), np.uint8), DataError, "expected .samples, height, width"),
        ([], DataError, "expected images, got none"),
        ([Image.new("L", (5, 6)), Image.new("L", (6, 5))], DataError, "pictures of one size, or image_size="),
        ([np.zeros((5, 6), np.uint8), np.zeros((6, 5), np.uint8)], DataError, "images of one shape"),
        ([Image.new("L", (5, 6)), np.zeros((6, 5), np.uint8)], ConfigError, "all of one kind, got Image, ndarray"),
        (3, ConfigError, "an array, a tensor, a Dataset with a length, or a path, got int"),
        (iter([1]), ConfigError, "collect the samples of an iterable Dataset in a list"),
        ("nowhere", ConfigError, "which is not there"),
    ],
)
def test_what_is_not_clearly_images_is_an_error(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        given_images(given)


def test_pictures_of_several_sizes_are_resized() -> None:
    given = given_images([Image.new("L", (5, 6)), Image.new("L", (6, 5))], image_size=(4, 3))
    assert isinstance(given, Arrays)
    assert given.images.shape == (2, 1, 4, 3)


def test_arrays_are_kept_once_in_a_file_that_the_command_line_reads(images: Pixels, here: Path) -> None:
    """Named by what is in it, beside the cache: the same arrays are not written again."""
    folder = folder_of(here / "bought.sqlite")
    section = data_section(Arrays(images), folder)
    file = Path(section["path"])
    assert (section["name"], section["labels"], file.parent) == ("npz", "none", here / "bought-images")
    changed = file.stat().st_mtime_ns
    assert data_section(Arrays(images.copy()), folder) == section
    assert file.stat().st_mtime_ns == changed
    assert data_section(Arrays(images[::-1].copy()), folder) != section
    read = load_dataset("npz", here, path=file, labels="none", class_names=("a", "b"))
    np.testing.assert_array_equal(read.train.images.numpy(), images)
    assert [one.name for one in folder.iterdir() if one.name.startswith(".")] == []


def test_kept_arrays_take_no_memory_of_their_own(images: Pixels, here: Path) -> None:
    """They are mapped, and writing to them does not change the file."""
    file = Path(data_section(Arrays(images), here)["path"])
    read = load_dataset("npz", here, path=file, labels="none", class_names=("a", "b"))
    assert str(file) in Path("/proc/self/maps").read_text()
    read.train.images[0] = 0
    again = load_dataset("npz", here, path=file, labels="none", class_names=("a", "b"))
    np.testing.assert_array_equal(again.train.images.numpy(), images)


def test_labels_and_test_images_are_in_the_file(images: Pixels, here: Path) -> None:
    labels = np.arange(60) % 3
    test_images, test_labels = labelled_arrays((torch.from_numpy(images[:9]), labels[:9].tolist()), name="test")
    arrays = with_labels(Arrays(images, test_images=test_images, test_labels=test_labels), torch.from_numpy(labels))
    section = data_section(arrays, here)
    assert "labels" not in section
    read = load_dataset("npz", here, path=Path(section["path"]))
    assert read.train.needed_labels.tolist() == labels.tolist()
    assert read.test.needed_labels.tolist() == labels[:9].tolist()


def test_dataset_has_both_or_is_an_error(images: Pixels) -> None:
    pairs = _Samples([(one, number % 4) for number, one in enumerate(images)])
    pixels, labels = labelled_arrays(pairs, name="test")
    np.testing.assert_array_equal(pixels, images)
    assert labels.tolist() == [number % 4 for number in range(60)]
    for given in (images, _Samples(list(images))):
        with pytest.raises(ConfigError, match=r"test: expected images and their labels, as \(images, labels\)"):
            labelled_arrays(given, name="test")


@pytest.mark.parametrize("labels", [[1, 2], np.zeros(60), np.zeros((60, 2, 2), np.int64)])
def test_labels_that_do_not_fit_are_an_error(images: Pixels, labels: Any) -> None:
    with pytest.raises(ConfigError, match="labels: expected"):
        with_labels(Arrays(images), labels)


def test_cache_in_a_database_has_its_arrays_below_the_working_directory(here: Path) -> None:
    assert folder_of("postgresql://host/name") == here / "runs/images"
