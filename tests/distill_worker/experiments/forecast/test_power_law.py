"""The fit of a learning curve, against curves that are known and another solver."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from distill_worker.experiments.forecast.power_law import fitted

SIZES = np.array([50.0, 100.0, 200.0, 400.0])
EVEN = np.ones(4)


@pytest.mark.parametrize(("a", "b", "c"), [(0.1, 2.0, -0.55), (0.0, 5.0, -1.0), (0.05, 0.9, -0.1), (0.3, 0.0, -1.0)])
def test_curve_without_noise_is_recovered(a: float, b: float, c: float) -> None:
    laws = fitted(SIZES, (a + b * SIZES**c)[None], EVEN)
    assert (laws.a[0], laws.b[0], laws.c[0]) == pytest.approx((a, b, c), abs=1e-9)
    assert laws.errors(1600)[0] == pytest.approx(a + b * 1600**c)


@given(
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
    st.lists(st.floats(0.1, 100), min_size=4, max_size=4),
)
def test_fit_is_as_good_as_that_of_a_general_solver(errors: list[float], weights: list[float]) -> None:
    """Bounded least squares for each exponent of a finer grid finds no better curve, but for the grid."""
    measured, weight = np.array(errors), np.array(weights)
    laws = fitted(SIZES, measured[None], weight)
    a, b, c = laws.a[0], laws.b[0], laws.c[0]
    assert a >= 0
    assert b >= 0
    assert -1 <= c <= -0.1
    ours = weight @ (a + b * SIZES**c - measured) ** 2
    best = np.inf
    for exponent in np.linspace(-1, -0.1, 37):
        terms = np.stack([EVEN, SIZES**exponent], axis=1) * np.sqrt(weight)[:, None]
        solved = lsq_linear(terms, measured * np.sqrt(weight), bounds=(0, np.inf), method="bvls")
        best = min(best, 2 * solved.cost)
    assert ours <= best + 1e-9


def test_every_row_is_fitted_alone_and_with_the_same_bits() -> None:
    rows = np.random.default_rng(0).random((5, 4))
    together = fitted(SIZES, rows, EVEN)
    for row, errors in enumerate(rows):
        alone = fitted(SIZES, errors[None], EVEN)
        assert alone.errors(800)[0] == pytest.approx(together.errors(800)[row], rel=1e-12)
    assert np.array_equal(together.errors(800), fitted(SIZES, rows, EVEN).errors(800))


def test_more_weight_brings_the_curve_nearer() -> None:
    errors = np.array([[0.5, 0.3, 0.35, 0.2]])
    misses = [abs(fitted(SIZES, errors, np.array([1, 1, 1, w])).errors(400)[0] - 0.2) for w in (1.0, 100.0)]
    assert misses[1] < misses[0]


def test_error_is_never_above_one() -> None:
    assert fitted(SIZES, np.array([[1.0, 0.9, 0.5, 0.2]]), EVEN).errors(1)[0] == 1
