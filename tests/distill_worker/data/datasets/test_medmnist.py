"""MedMNIST from files in the published layout."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from distill_worker.data.datasets import load_dataset
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.errors import DataError
from tests.distill_worker.data.datasets.files import pixels

SAMPLES = {"train": 6, "val": 3, "test": 4}


def _published(*shape: int) -> dict[str, NDArray[Any]]:
    """Images and `[samples, 1]` labels of three classes, under the published names."""
    arrays: dict[str, NDArray[Any]] = {}
    for seed, (part, samples) in enumerate(SAMPLES.items()):
        arrays[f"{part}_images"] = pixels(seed, samples, *shape)
        arrays[f"{part}_labels"] = (np.arange(samples, dtype=np.uint8) % 3)[:, None]
    return arrays


def _load(tmp_path: Path, arrays: dict[str, NDArray[Any]]) -> Dataset:
    np.savez_compressed(tmp_path / "mnist.npz", **arrays)  # type: ignore[arg-type]  # a name is no option of savez
    return load_dataset("medmnist", tmp_path, path=tmp_path / "mnist.npz")


@pytest.mark.parametrize(("shape", "padding"), [((28, 28), 2), ((28, 28, 3), 2), ((64, 64, 3), 4)])
def test_pixels_and_labels_are_those_of_the_file(tmp_path: Path, shape: tuple[int, ...], padding: int) -> None:
    arrays = _published(*shape)
    dataset = _load(tmp_path, arrays)
    assert dataset.validation is not None
    for split, part in ((dataset.train, "train"), (dataset.validation, "val"), (dataset.test, "test")):
        stored = arrays[f"{part}_images"].reshape(SAMPLES[part], shape[0], shape[1], -1)
        assert np.array_equal(split.images.permute(0, 2, 3, 1).numpy(), stored)
        assert split.needed_labels.tolist() == arrays[f"{part}_labels"][:, 0].tolist()
    assert dataset.class_names == ("0", "1", "2")
    assert (dataset.crop_padding, dataset.horizontal_flip) == (padding, False)


def test_several_labels_a_sample_are_refused(tmp_path: Path) -> None:
    """As ChestMNIST has them."""
    arrays = _published(28, 28)
    arrays["train_labels"] = np.zeros((6, 14), dtype=np.uint8)
    with pytest.raises(DataError, match=r"^medmnist: .*train_labels: expected one label a sample, .*got \[6, 14\]"):
        _load(tmp_path, arrays)


def test_volumes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train_images: expected \[samples, height, width\].*got \[6, 28, 28, 28\]"):
        _load(tmp_path, _published(28, 28, 28))


def test_file_without_validation_samples_is_refused(tmp_path: Path) -> None:
    arrays = _published(28, 28)
    del arrays["val_images"]
    with pytest.raises(DataError, match=r"^medmnist: .*expected an array 'val_images', got train_images"):
        _load(tmp_path, arrays)


def test_class_without_training_samples_is_refused(tmp_path: Path) -> None:
    arrays = _published(28, 28)
    arrays["val_labels"] = np.array([[0], [1], [3]], dtype=np.uint8)
    with pytest.raises(DataError, match="every class, got none of 3;"):
        _load(tmp_path, arrays)
