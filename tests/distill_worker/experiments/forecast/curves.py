"""Learning curves that are known, and students with the luck of a test set."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distill_worker.experiments.forecast.measured_curve import MeasuredCurve

SIZES = (60, 125, 250, 500)
TEST_IMAGES = 1000


def law(a: float, b: float, c: float, sizes: Sequence[int]) -> NDArray[np.float64]:
    """The errors a + b n^c."""
    errors: NDArray[np.float64] = a + b * np.array(sizes, dtype=np.float64) ** c
    return errors


def drawn(errors: NDArray[np.float64], seeds: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """The errors of so many students of each size, counted on `TEST_IMAGES` test images `[seeds, sizes]`."""
    counts: NDArray[np.float64] = rng.binomial(TEST_IMAGES, errors, size=(seeds, len(errors))) / TEST_IMAGES
    return counts


def measured(a: float, b: float, c: float, *, seed: int = 0, seeds: int = 3) -> MeasuredCurve:
    """Students of a curve at `SIZES`."""
    return MeasuredCurve("KD", SIZES, drawn(law(a, b, c, SIZES), seeds, np.random.default_rng(seed)))


def exact(errors: Sequence[float], sizes: Sequence[int] = SIZES) -> MeasuredCurve:
    """Two students of each size, half a point above and below these errors."""
    return MeasuredCurve("KD", tuple(sizes), np.array(errors) + np.array([[-0.005], [0.005]]))
