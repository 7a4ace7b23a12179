"""The learning rate, counted from step 1, and the patience of the paper."""

from itertools import pairwise
from math import cos, pi

import pytest

from distill_worker.training.schedule import Patience, cosine_rate, one_cycle_rate


def test_cosine_falls_from_the_first_step() -> None:
    assert cosine_rate(0.4, 1, 10) == 0.4
    assert cosine_rate(0.4, 6, 10) == pytest.approx(0.2)
    assert cosine_rate(0.4, 10, 10) == pytest.approx(0.2 * (1 + cos(0.9 * pi)))
    assert cosine_rate(0.4, 1, 1) == 0.4


def test_one_cycle_rises_for_three_tenths_and_falls_to_almost_nothing() -> None:
    rates = [one_cycle_rate(0.5, step, 100) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.5 / 25)
    assert max(rates) == rates[30] == 0.5
    assert rates[15] == pytest.approx((0.5 + 0.5 / 25) / 2)
    assert rates[65] == pytest.approx((0.5 + 0.5 / 10_000) / 2)
    assert rates[99] < 0.001
    assert all(before < after for before, after in pairwise(rates[:31]))
    assert all(before > after for before, after in pairwise(rates[30:]))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_one_cycle_of_few_steps_is_positive(steps: int) -> None:
    assert all(0 < one_cycle_rate(0.5, step, steps) <= 0.5 for step in range(1, steps + 1))


def test_patience_runs_out_after_so_many_epochs_in_a_row_and_three_drops() -> None:
    patience = Patience(3)
    improved = [True, False, False, True, False, False, False, *[False] * 9]
    ran_out = [patience.after_epoch(improved=better) for better in improved]
    assert [epoch for epoch, out in enumerate(ran_out) if out] == [6, 9, 12, 15]
    assert patience.is_exhausted
    assert patience.drops == 4


def test_factor_is_a_tenth_for_each_drop() -> None:
    patience = Patience(1)
    factors = [patience.factor]
    while not patience.is_exhausted:
        patience.after_epoch(improved=False)
        factors.append(patience.factor)
    assert factors[:4] == pytest.approx([1, 0.1, 0.01, 0.001])


def test_patience_goes_on_from_its_state() -> None:
    patience, other = Patience(2), Patience(2)
    for _ in range(3):
        patience.after_epoch(improved=False)
    other.restore(patience.state())
    assert other.after_epoch(improved=False) is patience.after_epoch(improved=False) is True
    assert other.factor == patience.factor
