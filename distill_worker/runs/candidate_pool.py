"""What a run may buy, and what is chosen of it.

Choices depend on sample keys, seeds and, where the strategy looks at them, on labels, pixels or a student: never on the
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
from distill_worker.data.datasets import Dataset
from distill_worker.data.selection import STRATEGIES, Candidates, choose, divide, rank, set_apart, shares
from distill_worker.data.selection.features import features_of, outputs_of, pixels
from distill_worker.errors import ConfigError
from shared.sample_key import sample_keys
from shared.weights import WeightsCard

Student = tuple[WeightsCard, nn.Module]
"""What the candidates are asked of, where a strategy chooses with a student."""


@dataclass(frozen=True)
class Eligible:
    """The samples of a data set that a run chooses from."""

    dataset: Dataset
    labels: Tensor
    """int64, of every training image, with whatever noise the run has."""
    ranked: list[int]
    """Positions in the training split of one of each distinct image, less what an imbalance leaves out; hash order."""
    key_of: dict[int, bytes]
    """Their sample keys."""
    budget: Budget
    validation_share: float

    @classmethod
    def of(cls, dataset: Dataset, config: RunConfig) -> "Eligible":
        """Rank the samples; nothing is chosen yet."""
        classes = len(dataset.class_names)
        labels, corruption = dataset.train.labels, config.corruption
        candidates = list(range(len(labels)))
        if (imbalance := corruption.imbalance) is not None:
            kept = imbalanced(
                labels, kind=imbalance.kind, ratio=imbalance.ratio, num_classes=classes, seed=corruption.seed
            )
            candidates = kept.tolist()
        if (noise := corruption.label_noise) is not None:
            labels = noisy_labels(labels, kind=noise.kind, rate=noise.rate, num_classes=classes, seed=corruption.seed)
        images = dataset.train.images if imbalance is None else dataset.train.images[torch.tensor(candidates)]
        keys = sample_keys(images.numpy())
        order = rank(keys, config.budget.seed)
        return cls(
            dataset,
            labels,
            [candidates[place] for place in order],
            {candidates[place]: keys[place] for place in order},
            config.budget,
            config.training.validated_share,
        )

    @property
    def n(self) -> int:
        """How many are chosen in all. Raises `ConfigError` when there are too few."""
        return shares(len(self.ranked), self.budget.n, self.validation_share)[0]

    @cached_property
    def validation(self) -> list[int]:
        """Positions that are only looked at, ascending: the same whatever the strategy chooses.

        Raises:
            ConfigError: there are too few samples.
        """
        division = divide if self.budget.strategy == "random" else set_apart
        return division(self.ranked, self.budget.n, self.validation_share)[1]

    @cached_property
    def candidates(self) -> list[int]:
        """Positions to choose from, in hash order."""
        held_out = set(self.validation)
        return [position for position in self.ranked if position not in held_out]

    def first(self) -> list[bytes]:
        """The keys to buy before there is a student: all that the run buys, or the first round's.

        Raises:
            ConfigError: there are too few samples, or the features do not fit.
        """
        name = self.budget.first if STRATEGIES[self.budget.strategy].needs_student else self.budget.strategy
        return self._chosen(name, self.budget.sizes[0] if self.budget.n else self.n, [])

    def further(self, n: int, taken: Sequence[bytes], student: Student) -> list[bytes]:
        """The n keys that the run's strategy chooses with a student that was trained on the taken ones."""
        return self._chosen(self.budget.strategy, n, taken, student)

    def positions(self, keys: Sequence[bytes]) -> list[int]:
        """Where the samples with these keys are in the training split, ascending.

        Raises:
            ConfigError: some are not among the candidates.
        """
        at = {self.key_of[position]: position for position in self.candidates}
        if strangers := sum(key not in at for key in keys):
            raise ConfigError(
                f"budget: {strangers} of {len(keys)} samples that were chosen earlier are not in this data set; was it "
                "changed? Choose another output.directory"
            )
        return sorted(at[key] for key in keys)

    def _chosen(self, name: str, n: int, taken: Sequence[bytes], student: Student | None = None) -> list[bytes]:
        keys = [self.key_of[position] for position in self.candidates]
        places = {key: place for place, key in enumerate(keys)}
        seen = self._seen(name, student)
        return [keys[place] for place in choose(name, seen, n, [places[key] for key in taken])]

    def _seen(self, name: str, student: Student | None) -> Candidates:
        """The candidates, with what the strategy needs to know of them."""
        needs, here = STRATEGIES[name].needs, torch.tensor(self.candidates, dtype=torch.int64)
        labels, features, logits = np.empty(0, np.int64), _NOTHING, _NOTHING
        if "labels" in needs:
            labels = self.labels[here].numpy()
        if "features" in needs:
            images, given = self.dataset.train.images[here], self.budget.features
            features = pixels(images) if given == "pixels" else features_of(Path(given), images)
        if "student" in needs:
            if student is None:
                raise ConfigError(f"budget.strategy: {name} chooses with a student, in rounds: distill-worker run")
            card, network = student
            logits, features = outputs_of(network, card, self.dataset.train.images[here])
        return Candidates(len(here), self.budget.seed, labels=labels, features=features, logits=logits)


_NOTHING: NDArray[np.float32] = np.empty((0, 0), np.float32)
