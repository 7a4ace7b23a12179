"""What an estimator says of the bought samples and of the pool."""

from typing import NamedTuple

from torch import Tensor


class Predictions(NamedTuple):
    """Log-probabilities, float32 `[samples, classes]`."""

    held_out: Tensor
    """Of the bought samples, each from those outside its part alone."""
    pool: Tensor
    """Of the pool, from all bought samples."""
