"""The split of the bundled digits is part of every result that was measured on them."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

from distill_worker.data.datasets import load_dataset
from distill_worker.data.datasets.dataset import Split
from shared.sample_key import sample_keys


def _keys(split: Split) -> list[bytes]:
    return sample_keys(split.images.numpy())


def test_digits_split_is_fixed(tmp_path: Path) -> None:
    """1,297 and 500 samples whose keys, in order, have a known digest: the split is part of every result."""
    digits = load_dataset("digits", tmp_path)
    for split, samples in ((digits.train, 1297), (digits.test, 500)):
        assert split.images.shape == (samples, 1, 8, 8)
        assert split.needed_labels.shape == (samples,)
        assert split.images.dtype == torch.uint8
        assert split.needed_labels.dtype == torch.int64
    assert sha256(b"".join(_keys(digits.train))).hexdigest()[:16] == "ccd88514e0318fb7"
    assert sha256(b"".join(_keys(digits.test))).hexdigest()[:16] == "01019c9884dc26d4"
    assert set(_keys(digits.train)).isdisjoint(_keys(digits.test))
    assert digits.image_shape == (1, 8, 8)
    assert digits.class_names == tuple("0123456789")
    assert not digits.horizontal_flip
    assert digits.crop_padding == 1


def test_digits_keep_their_labels_and_their_pixels(tmp_path: Path) -> None:
    """By the raw data set's own order: a pixel of 0..16 is 255/16 of it, rounded."""
    from sklearn.datasets import load_digits

    digits, raw = load_dataset("digits", tmp_path), load_digits()
    images = np.rint(raw.data * 255 / 16).astype(np.uint8).reshape(-1, 1, 8, 8)
    label_of = dict(zip(sample_keys(images), raw.target.tolist(), strict=True))
    for split in (digits.train, digits.test):
        assert [label_of[key] for key in _keys(split)] == split.needed_labels.tolist()


def test_mean_and_deviation_are_those_of_the_training_pixels(tmp_path: Path) -> None:
    digits = load_dataset("digits", tmp_path)
    pixels = digits.train.images.numpy() / 255
    assert digits.mean == pytest.approx([pixels.mean()], abs=5e-5)
    assert digits.std == pytest.approx([pixels.std()], abs=5e-5)
