"""The folds: each bought sample is in one, by the set of samples and the seed, whatever order they are in."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from distill_worker.errors import ConfigError, counted

_FEWEST: Final = 2
"""Samples that a trial is trained on: batch normalisation needs two."""


def fold_of(keys: Sequence[bytes], folds: int, seed: int) -> list[int]:
    """The fold of each sample, 0 to `folds - 1`; the sizes of folds differ by one at most.

    Args:
        keys: the sample keys.
        folds: how many there are.
        seed: of the run.
    """
    head = f"fold:{seed}:".encode()
    order = sorted(range(len(keys)), key=lambda row: sha256(head + keys[row]).digest())
    fold = [0] * len(keys)
    for place, row in enumerate(order):
        fold[row] = place % folds
    return fold


def fewest_trained_on(samples: int, folds: int) -> int:
    """The samples outside the largest fold.

    Raises:
        ConfigError: they are too few for a trial, or a fold is empty.
    """
    fewest = samples - -(-samples // folds)
    if samples < folds or fewest < _FEWEST:
        raise ConfigError(
            f"tuning.folds: expected a sample in each fold and at least {_FEWEST} outside it, got {folds} folds of "
            f"{counted(samples, 'sample')}; use fewer folds or more samples"
        )
    return fewest
