"""Whether a teacher means the classes of the data: how often its likeliest class is a sample's label.

The classes of a teacher may be in another order although their names, or their number, agree. Then it agrees with the
labels about as often as chance, or less. A purchase stops if both hold:

- the share of samples on which they agree is chance, 1 / classes, or less;
- so few agreements would have a probability below 1 in 10,000 if the true share were chance + (1 - chance) / 4 or more
  (one-sided exact binomial test): 10 samples for a teacher of 2 classes that is never right, 24 for one of 10
  classes, and 60 for one of 10 classes that guesses.
"""

from collections.abc import Mapping, Sequence
from math import exp, lgamma, log
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill_worker.errors import PlanRefused
from shared.output_kinds import LABEL, TOP_K, OutputKind

_CLEARLY_ABOVE_CHANCE: Final = 0.25
"""How far above chance, on the way to always, a share is clearly above it."""
_ERROR_RATE: Final = 1e-4


class Counts(NamedTuple):
    """How often a teacher agrees with the labels of the data."""

    agreements: int
    samples: int
    num_classes: int


class Agreement:
    """Counts on how many samples a teacher agrees with the labels."""

    def __init__(self, labels: Mapping[bytes, int], num_classes: int, order: Sequence[int] | None = None) -> None:
        """Count nothing yet.

        Args:
            labels: of the data, by sample key; other samples are not counted.
            num_classes: of the data and of the teacher.
            order: for each class of the data, its place among the teacher's; None if both have the same order.
        """
        self._labels = labels
        self._num_classes = num_classes
        self._class_of = np.argsort(np.arange(num_classes) if order is None else np.asarray(order))
        self._agrees: dict[bytes, bool] = {}
        self._agreements = 0

    @property
    def counts(self) -> Counts:
        """What is counted so far."""
        return Counts(self._agreements, len(self._agrees), self._num_classes)

    def add(self, sample_keys: Sequence[bytes], outputs: Mapping[str, NDArray[Any]]) -> None:
        """Count samples with their outputs by kind, `[samples, ...]`; features alone count nothing."""
        kinds = [kind for kind in map(OutputKind.parse, outputs) if not kind.is_features]
        if not kinds:
            return
        classes = self._class_of[_likeliest(kinds[0], outputs[str(kinds[0])])]
        for key, likeliest in zip(sample_keys, classes.tolist(), strict=True):
            if key in self._labels:
                agrees = likeliest == self._labels[key]
                self._agreements += agrees - self._agrees.get(key, False)
                self._agrees[key] = agrees

    def judge(self, sample_keys: Sequence[bytes], outputs: Mapping[str, NDArray[Any]]) -> None:
        """Count an answer, then `check`."""
        self.add(sample_keys, outputs)
        self.check()

    def check(self) -> None:
        """Raise `PlanRefused` if the teacher agrees with the labels no more often than by chance."""
        agreements, samples, _ = self.counts
        if is_no_better_than_chance(*self.counts):
            raise PlanRefused(
                f"teacher: expected its likeliest class to be the data's label more often than by chance (1 of "
                f"{self._num_classes} samples), got it for {agreements} of {samples}. Its classes may be in another "
                "order than those of the data: correct [teacher.labels] (labelled-scores, chat), or list them in its "
                "order in teacher.class_names (open-inference). If such a teacher is intended, or the labels mean "
                "nothing, set teacher.expect_agreement = false"
            )


def is_no_better_than_chance(agreements: int, samples: int, num_classes: int) -> bool:
    """Whether a teacher certainly agrees with the labels no more often than by chance; see above."""
    chance = 1 / num_classes
    if agreements > chance * samples:
        return False
    counts = Counts(agreements, samples, num_classes)
    return is_certainly_below(counts, chance + _CLEARLY_ABOVE_CHANCE * (1 - chance))


def is_certainly_below(counts: Counts, share: float) -> bool:
    """Whether so few agreements have a probability below 1 in 10,000 if the true share is `share`, within (0, 1)."""
    agreements, samples, _ = counts
    return agreements < share * samples and _at_most(agreements, samples, share) < _ERROR_RATE


def _at_most(agreements: int, samples: int, share: float) -> float:
    """The probability of so many agreements or fewer, if each sample agrees with a probability of `share`."""

    def log_probability(count: int) -> float:
        ways = lgamma(samples + 1) - lgamma(count + 1) - lgamma(samples - count + 1)
        return ways + count * log(share) + (samples - count) * log(1 - share)

    return sum(exp(log_probability(count)) for count in range(agreements + 1))


def _likeliest(kind: OutputKind, values: NDArray[Any]) -> NDArray[np.int64]:
    """The class with the largest value, int64 `[samples]`, from outputs of a kind."""
    if kind.name == LABEL:
        classes = values[:, 0]
    elif kind.name == TOP_K:
        first = values[:, :, 1].argmax(axis=1)
        classes = values[np.arange(len(values)), first, 0]
    else:
        classes = values.argmax(axis=1)
    return classes.astype(np.int64)
