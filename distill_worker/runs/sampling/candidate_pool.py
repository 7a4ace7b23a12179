"""The samples that a run may buy, and the selection among them.

A selection depends on sample keys, seeds and, if the strategy uses them, on labels, pixels or a student: never on the
order of the data set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distill_worker.config.data_sections import Budget
from distill_worker.config.run_config import RunConfig
from distill_worker.data.corruption import imbalanced, noisy_labels
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.data.selection import (
    GRADIENTS,
    PIXELS,
    STRATEGIES,
    STUDENT,
    Candidates,
    choose,
    divide,
    rank,
    set_apart,
    shares,
)
from distill_worker.data.selection.features import features_of, gradients, gradients_of, outputs_of, pixels
from distill_worker.errors import ConfigError, TrainingDiverged
from distill_worker.training.directory.run_directory import ELSEWHERE
from shared.weights import WeightsCard

Student = tuple[WeightsCard, nn.Module]
"""The trained student that a strategy selects with."""


@dataclass(frozen=True)
class CandidatePool:
    """The samples of a data set that a run selects from."""

    dataset: Dataset
    labels: Tensor | None
    """int64, one for each training image, with the run's label noise; None if they have none."""
    ranked: list[int]
    """Positions in the training split, in hash order: one for each distinct image, without those that an imbalance
    removes and those that are held out."""
    key_of: dict[int, bytes]
    """The sample key of each ranked position, and of each that is held out."""
    budget: Budget
    """Without the samples that are held out."""
    validation_share: float
    held_out: list[int]
    """Positions of the samples that are bought and never trained on: the first in hash order."""

    @classmethod
    def of(cls, dataset: Dataset, config: RunConfig) -> "CandidatePool":
        """Rank the samples of a data set, without selecting any."""
        classes = len(dataset.class_names)
        labels, corruption = dataset.train.labels, config.corruption
        candidates = list(range(len(dataset.train.images)))
        if (imbalance := corruption.imbalance) is not None:
            kept = imbalanced(
                dataset.train.needed_labels,
                kind=imbalance.kind,
                ratio=imbalance.ratio,
                num_classes=classes,
                seed=corruption.seed,
            )
            candidates = kept.tolist()
        if (noise := corruption.label_noise) is not None:
            labels = noisy_labels(
                dataset.train.needed_labels, kind=noise.kind, rate=noise.rate, num_classes=classes, seed=corruption.seed
            )
        keys = [dataset.train.keys[candidate] for candidate in candidates]
        order = rank(keys, config.budget.seed)
        held_out = config.budget.held_out(len(order), has_labels=dataset.is_labelled)
        return cls(
            dataset,
            labels,
            [candidates[place] for place in order[held_out:]],
            {candidates[place]: keys[place] for place in order},
            config.budget.without_held_out(held_out),
            config.training.validated_share,
            [candidates[place] for place in order[:held_out]],
        )

    @property
    def n(self) -> int:
        """How many samples the run selects in all. Raises `ConfigError` if there are too few."""
        if len(self.ranked) < 2:
            total = len(self.ranked) + len(self.held_out)
            raise ConfigError(
                f"budget.holdout: expected at most {max(0, total - 2)}, which leaves 2 of the {total} distinct samples "
                f"to train on, got {len(self.held_out)}"
            )
        return shares(len(self.ranked), self.budget.n, self.validation_share)[0]

    @cached_property
    def validation(self) -> list[int]:
        """Positions of the validation samples, ascending; they do not depend on what the strategy selects.

        Raises:
            ConfigError: there are too few samples.
        """
        division = divide if self.budget.strategy == "random" else set_apart
        return division(self.ranked, self.budget.n, self.validation_share)[1]

    @cached_property
    def candidates(self) -> list[int]:
        """Positions to select from, in hash order."""
        held_out = set(self.validation)
        return [position for position in self.ranked if position not in held_out]

    def first(self) -> list[bytes]:
        """The keys to buy before a student exists: all keys of the run, or those of its first round.

        Raises:
            ConfigError: there are too few samples, or the features do not fit.
        """
        name = self.budget.first if self.budget.needs_student else self.budget.strategy
        return self._select(name, self.budget.sizes[0] if self.budget.n else self.n, [])

    def further(self, n: int, taken: Sequence[bytes], student: Student) -> list[bytes]:
        """The next n keys by the run's strategy, with a student trained on the `taken` ones."""
        return self._select(self.budget.strategy, n, taken, student)

    def positions(self, keys: Sequence[bytes]) -> list[int]:
        """The positions in the training split of the samples with these keys, ascending.

        Raises:
            ConfigError: some are not among the candidates.
        """
        position_of = {self.key_of[position]: position for position in self.candidates}
        if missing := sum(key not in position_of for key in keys):
            raise ConfigError(
                f"budget: {missing} of {len(keys)} samples that were chosen earlier are not in this data set; if "
                f"it has changed, {ELSEWHERE}"
            )
        return sorted(position_of[key] for key in keys)

    def _select(self, name: str, n: int, taken: Sequence[bytes], student: Student | None = None) -> list[bytes]:
        keys = [self.key_of[position] for position in self.candidates]
        places = {key: place for place, key in enumerate(keys)}
        candidates = self._candidates_for(name, student)
        return [keys[place] for place in choose(name, candidates, n, [places[key] for key in taken])]

    def _candidates_for(self, name: str, student: Student | None) -> Candidates:
        """The candidates with the labels, features and logits that this strategy needs."""
        needs, positions = STRATEGIES[name].needs, torch.tensor(self.candidates, dtype=torch.int64)
        labels, features, logits = np.empty(0, np.int64), _EMPTY, _EMPTY
        if "labels" in needs:
            known = self.dataset.train.needed_labels if self.labels is None else self.labels
            labels = known[positions].numpy()
        if "student" in needs and student is None:
            raise ConfigError(f"budget.strategy: {name} chooses with a student, in rounds: distill-worker run")
        if student is not None:
            card, network = student
            logits, features = outputs_of(network, card, self.dataset.train.images, rows=positions)
            _check_finite(logits, features)
        elif "features" in needs:
            features = self._features(positions)
        return Candidates(len(positions), self.budget.seed, labels=labels, features=features, logits=logits)

    def _features(self, positions: Tensor) -> NDArray[np.float32]:
        """What the run's features are where no student has trained."""
        source, train = self.budget.features, self.dataset.train
        if source == GRADIENTS and train.stored is not None:
            chosen: NDArray[np.float32] = train.stored.kept(GRADIENTS, gradients_of)[positions.numpy()]
            return chosen
        if source == GRADIENTS:
            return gradients(train.images[positions])
        if source in (PIXELS, STUDENT):
            return pixels(train.images[positions])
        return features_of(Path(source), train.images, rows=positions)


def _check_finite(*outputs: NDArray[np.float32]) -> None:
    if not all(np.isfinite(values).all() for values in outputs):
        raise TrainingDiverged(
            "budget.strategy: expected finite outputs of the student that selects, got others: the last step of its "
            f"training diverged; lower training.learning_rate, and {ELSEWHERE}. What was bought is in the cache"
        )


_EMPTY: NDArray[np.float32] = np.empty((0, 0), np.float32)
