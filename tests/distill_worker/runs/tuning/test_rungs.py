"""Successive halving: fewer candidates, more steps and folds, and everything in the last rung."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_worker.config.stages.tuning import Tuning
from distill_worker.runs.tuning.rungs import Rung, rungs


def test_default_has_three_rungs() -> None:
    """48 candidates with a sixteenth of the steps, 12 with a quarter, and the 4 best with all."""
    planned = rungs(Tuning(), candidates=48, steps=1600)
    assert planned == [Rung(48, 1, 100, 1600), Rung(12, 1, 400, 1600), Rung(4, 4, 1600, 1600)]


def test_candidate_with_fewer_steps_takes_as_large_a_part_of_them() -> None:
    rung = Rung(48, 1, 100, 1600)
    assert [rung.steps_of(steps) for steps in (1600, 800, 17)] == [100, 50, 2]


@pytest.mark.parametrize("steps", [100, 300, 600, 800, 1000, 1500, 3000, 9999])
def test_default_costs_about_22_trainings_for_any_steps(steps: int) -> None:
    """A number of steps that 16 does not divide has no fourth rung, and no second fold in the second rung."""
    planned = rungs(Tuning(), candidates=48, steps=steps)
    assert [(rung.candidates, rung.folds) for rung in planned] == [(48, 1), (12, 1), (4, 4)]
    assert 22 <= sum(rung.candidates * rung.folds * rung.steps for rung in planned) / steps < 23


@pytest.mark.parametrize("candidates", [1, 4])
def test_rung_from_which_all_would_go_on_is_left_out(candidates: int) -> None:
    assert rungs(Tuning(), candidates=candidates, steps=1600) == [Rung(candidates, 4, 1600, 1600)]
    assert [rung.candidates for rung in rungs(Tuning(first_steps=10), candidates=16, steps=1600)] == [16, 4]


def test_one_rung_if_the_first_has_all_steps() -> None:
    assert rungs(Tuning(first_steps=600), candidates=5, steps=600) == [Rung(5, 4, 600, 600)]


@given(
    st.integers(1, 100), st.integers(1, 3000), st.integers(2, 5), st.integers(2, 6), st.none() | st.integers(1, 4000)
)
def test_rungs_end_with_everything(candidates: int, steps: int, eta: int, folds: int, first_steps: int | None) -> None:
    planned = rungs(Tuning(eta=eta, folds=folds, first_steps=first_steps), candidates=candidates, steps=steps)
    assert planned[0].candidates == candidates
    assert planned[-1][1:] == (folds, steps, steps)
    assert planned[-1].candidates >= min(candidates, eta)
    for earlier, later in pairwise(planned):
        assert earlier.candidates > later.candidates
        assert 0 < earlier.folds <= later.folds
        assert 0 < earlier.steps < later.steps
