"""A split that depends on pixels alone."""

import numpy as np
import pytest

from distill_worker.data.datasets.split_by_key import split_by_key
from distill_worker.errors import DataError
from shared.sample_key import sample_key
from tests.distill_worker.data.datasets.files import pixels


def test_last_fifth_by_key_is_the_test_split() -> None:
    images, labels = pixels(0, 53, 1, 4, 4), np.arange(53)
    train, test = split_by_key(images, labels, where="here")
    ranked = sorted(range(53), key=lambda position: sample_key(images[position]))
    assert train.needed_labels.tolist() == ranked[:43]
    assert test.needed_labels.tolist() == ranked[43:]
    for split in (train, test):
        assert all(
            np.array_equal(image, images[label]) for image, label in zip(split.images, split.needed_labels, strict=True)
        )


def test_order_of_the_samples_does_not_matter() -> None:
    images, labels = pixels(0, 30, 3, 2, 2), np.arange(30)
    shuffled = np.random.default_rng(1).permutation(30)
    for one, other in zip(
        split_by_key(images, labels, where="here"),
        split_by_key(images[shuffled], labels[shuffled], where="here"),
        strict=True,
    ):
        assert one.needed_labels.tolist() == other.needed_labels.tolist()


@pytest.mark.parametrize("copies", [2, 3, 7])
def test_equal_images_fall_on_one_side(copies: int) -> None:
    """However the 20 percent fall; the test split is then larger by less than one group."""
    images = np.repeat(pixels(0, 11, 1, 2, 2), copies, axis=0)
    train, test = split_by_key(images, np.arange(len(images)), where="here")
    assert {int(label) // copies for label in train.needed_labels}.isdisjoint(
        int(label) // copies for label in test.needed_labels
    )
    assert len(images) // 5 <= len(test.needed_labels) < len(images) // 5 + copies
    assert len(train.needed_labels) + len(test.needed_labels) == len(images)


def test_small_set_has_one_test_sample() -> None:
    train, test = split_by_key(pixels(0, 3, 1, 2, 2), np.arange(3), where="here")
    assert (len(train.needed_labels), len(test.needed_labels)) == (2, 1)


@pytest.mark.parametrize("samples", [0, 1, 4])
def test_samples_that_cannot_be_split_are_refused(samples: int) -> None:
    """None, one, or four that are all alike."""
    images = np.zeros((samples, 1, 2, 2), dtype=np.uint8)
    with pytest.raises(DataError, match=f"^here: expected different images .*, got {min(samples, 1)}$"):
        split_by_key(images, np.arange(samples), where="here")


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(DataError, match=r"^here: expected a label for each image, got 4 images but 5 labels"):
        split_by_key(pixels(0, 4, 1, 2, 2), np.arange(5), where="here")
