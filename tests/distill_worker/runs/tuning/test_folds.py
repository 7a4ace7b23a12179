"""Every sample is in one fold, whatever order the samples come in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_worker.errors import ConfigError
from distill_worker.runs.tuning.folds import fewest_trained_on, fold_of

KEYS = [bytes([number]) * 16 for number in range(23)]


@given(st.permutations(KEYS), st.integers(2, 5))
def test_fold_of_a_sample_depends_on_the_set_alone(shuffled: list[bytes], folds: int) -> None:
    expected = dict(zip(KEYS, fold_of(KEYS, folds, seed=0), strict=True))
    assert dict(zip(shuffled, fold_of(shuffled, folds, seed=0), strict=True)) == expected


@given(st.integers(4, 40), st.integers(2, 4), st.integers(0, 9))
def test_sizes_of_folds_differ_by_one_at_most(samples: int, folds: int, seed: int) -> None:
    fold = fold_of([bytes([number]) * 16 for number in range(samples)], folds, seed)
    sizes = [fold.count(number) for number in range(folds)]
    assert sum(sizes) == samples
    assert max(sizes) - min(sizes) <= 1
    assert fewest_trained_on(samples, folds) == samples - max(sizes)


def test_another_seed_gives_other_folds() -> None:
    assert fold_of(KEYS, 4, seed=0) != fold_of(KEYS, 4, seed=1)


@pytest.mark.parametrize(("samples", "folds"), [(3, 4), (3, 2), (2, 2)])
def test_too_few_samples_are_an_error(samples: int, folds: int) -> None:
    with pytest.raises(ConfigError, match=rf"tuning\.folds: .* got {folds} folds of {samples} samples"):
        fewest_trained_on(samples, folds)


def test_four_samples_make_two_folds() -> None:
    assert fewest_trained_on(4, 2) == 2
