"""The 1,797 8x8 digits that scikit-learn ships: nothing to download."""

from pathlib import Path

import numpy as np

from distill_worker.data.datasets.dataset import Dataset
from distill_worker.data.datasets.described import described
from distill_worker.data.datasets.split_by_key import split_by_key

_TEST_SAMPLES = 500


def digits(_root: Path) -> Dataset:
    """Pixels of 0..16 become 0..255, rounded; the split goes by sample key.

    Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI; its test part.
    """
    from sklearn.datasets import load_digits  # slow to import, used only by this function

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    train, test = split_by_key(pixels, bunch.target, where="digits", test_samples=_TEST_SAMPLES)
    return described(
        "digits", train, test, [str(name) for name in bunch.target_names], crop_padding=1, horizontal_flip=False
    )
