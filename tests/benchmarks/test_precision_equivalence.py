"""The test of equivalence is two one-sided t-tests of paired differences, as SciPy computes them."""

from collections.abc import Sequence

import pytest
from scipy.stats import t, ttest_1samp

from benchmarks.precision_equivalence import LEVEL, MARGIN, equivalence


@pytest.mark.parametrize(
    ("differences", "is_shown"),
    [
        ([0.2, -0.2, 0.0, 0.4, -0.2, 0.2], True),
        ([0.4, 0.8, 0.2, 0.6, 0.0, 0.4], False),
        ([-1.0, -0.8, -1.2, -0.6, -1.0, -0.8], False),
        ([0.0, 0.0, 0.0], True),
    ],
)
def test_equivalence_is_shown_if_both_tests_reject(differences: Sequence[float], is_shown: bool) -> None:
    """That is so when the 90 % interval lies inside the margin."""
    tested = equivalence(differences)
    assert tested.is_shown is is_shown is (tested.low > -MARGIN and tested.high < MARGIN)
    if tested.deviation > 0:
        above = ttest_1samp(differences, -MARGIN, alternative="greater").pvalue
        below = ttest_1samp(differences, MARGIN, alternative="less").pvalue
        assert tested.p_value == pytest.approx(max(above, below))
        low, high = t.interval(1 - 2 * LEVEL, len(differences) - 1, tested.difference, tested.deviation / 6**0.5)
        assert (tested.low, tested.high) == pytest.approx((low, high))
