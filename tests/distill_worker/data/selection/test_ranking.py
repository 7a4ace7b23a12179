"""Which samples are bought depends on the seed and the samples, and on nothing else."""

from hashlib import sha256
from itertools import pairwise

import pytest

from distill_worker.data.selection import divide, rank
from distill_worker.errors import ConfigError

KEYS = [sha256(bytes([index])).digest() for index in range(100)]


def select(keys: list[bytes], n: int | None, seed: int) -> list[int]:
    """The samples to buy, without validation."""
    chosen, validation = divide(rank(keys, seed), n, 0.0)
    assert validation == []
    return chosen


def test_choice_is_that_of_the_smallest_ranks() -> None:
    """SHA-256 over `random:<seed>:` and the key: the same on every machine, for ever."""
    ranks = {index: sha256(b"random:7:" + key).hexdigest() for index, key in enumerate(KEYS)}
    assert select(KEYS, 5, 7) == sorted(sorted(ranks, key=ranks.__getitem__)[:5])


def test_choice_is_independent_of_the_order_of_the_samples() -> None:
    chosen = {KEYS[index] for index in select(KEYS, 20, 0)}
    backwards = KEYS[::-1]
    assert {backwards[index] for index in select(backwards, 20, 0)} == chosen


def test_larger_choice_holds_every_smaller_one() -> None:
    choices = [set(select(KEYS, n, 0)) for n in range(2, 101)]
    assert all(smaller < larger for smaller, larger in pairwise(choices))


def test_seeds_choose_differently() -> None:
    assert select(KEYS, 20, 0) != select(KEYS, 20, 1)


@pytest.mark.parametrize("n", [None, 3])
def test_equal_samples_are_chosen_once(n: int | None) -> None:
    """The first of equals stands for them."""
    assert select([KEYS[0], KEYS[1], KEYS[0], KEYS[2], KEYS[1]], n, 0) == [0, 1, 3]


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"budget\.n: expected at most 2.*got 3"):
        select([KEYS[0], KEYS[1], KEYS[0]], 3, 0)


def test_validation_comes_from_the_next_ranks() -> None:
    """A share of 0.2 goes with 80 bought as 20: four to one."""
    ranked = rank(KEYS, 3)
    chosen, validation = divide(ranked, 40, 0.2)
    assert chosen == sorted(ranked[:40])
    assert validation == sorted(ranked[40:50])
    chosen, validation = divide(ranked, None, 0.2)
    assert (len(chosen), len(validation)) == (80, 20)


def test_too_few_for_validation_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"budget\.n: expected at most 100.*got 90 besides 22 for validation"):
        divide(rank(KEYS, 0), 90, 0.2)
