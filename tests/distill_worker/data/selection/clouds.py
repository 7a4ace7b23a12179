"""Candidates in clouds, and loops that say what a strategy should choose of them."""

import math

import numpy as np

from distill_worker.data.selection import Candidates


def clouds(count: int = 60, seed: int = 0, *, of: int = 4, width: int = 5, draw: int = 0) -> Candidates:
    """So many samples around a few places, with labels and a student's logits of as many classes."""
    numbers = np.random.default_rng(draw)
    labels = numbers.integers(0, of, count)
    features = 3 * numbers.standard_normal((of, width))[labels] + numbers.standard_normal((count, width))
    logits = 2 * numbers.standard_normal((count, of))
    return Candidates(
        count, seed, labels=labels, features=features.astype(np.float32), logits=logits.astype(np.float32)
    )


def distance(candidates: Candidates, one: int, other: int) -> float:
    """Between two samples' features."""
    return math.dist(candidates.features[one].tolist(), candidates.features[other].tolist())


def softmax(logits: list[float]) -> list[float]:
    """As it is written in books."""
    powers = [math.exp(value) for value in logits]
    return [power / sum(powers) for power in powers]
