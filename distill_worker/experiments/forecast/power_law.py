"""The learning curve e(n) = a + b n^c: the test error of a student that learns from n samples.

Fitted by weighted least squares with a >= 0, b >= 0 and -1 <= c <= -0.1. For each c of a grid, the best a and b follow
in closed form: a fit needs no start, and gives the same bits each time.

Source: Cortes et al. 1994, "Learning curves: asymptotic values and rate of convergence"; Hestness et al. 2017, arXiv
1712.00409.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PARAMETERS: Final = 3
_EXPONENTS: Final = np.linspace(-1, -0.1, 37)


@dataclass(frozen=True)
class PowerLaws:
    """Several curves, one for each row of errors that they were fitted to: `a`, `b` and `c`, each `[curves]`."""

    a: Floats
    b: Floats
    c: Floats

    def errors(self, n: float) -> Floats:
        """The error of each curve at n samples `[curves]`, at most 1."""
        errors: Floats = np.minimum(self.a + self.b * n**self.c, 1.0)
        return errors


def fitted(sizes: Floats, errors: Floats, weights: Floats) -> PowerLaws:
    """The curve through each row of errors.

    Args:
        sizes: `[sizes]`, three or more different ones, positive.
        errors: `[curves, sizes]`, shares of the test images.
        weights: `[sizes]`, positive: the inverse variance of an error.
    """
    powers = sizes ** _EXPONENTS[:, None]
    total, of_powers, of_squares = weights.sum(), powers @ weights, powers**2 @ weights
    of_errors, of_products = (errors @ weights)[:, None], (errors * weights) @ powers.T
    slope = (total * of_products - of_powers * of_errors) / (total * of_squares - of_powers**2)
    level = (of_errors - of_powers * slope) / total
    slope = np.where(level < 0, of_products / of_squares, slope)  # the best one with a = 0
    level = np.where(slope < 0, of_errors / total, np.maximum(level, 0))
    slope = np.maximum(slope, 0)
    left_over = errors[:, None, :] - level[..., None] - slope[..., None] * powers
    best = (left_over**2 @ weights).argmin(axis=1)
    rows = np.arange(len(errors))
    return PowerLaws(level[rows, best], slope[rows, best], _EXPONENTS[best])
