"""The smallest scores."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def smallest(scores: NDArray[np.float64], n: int, taken: Sequence[int]) -> list[int]:
    """The positions of the n smallest scores that are not taken, smallest first; of equals, the first."""
    order = np.argsort(scores, kind="stable")
    left = order[~np.isin(order, np.asarray(taken, np.int64))]
    return [int(position) for position in left[:n]]
