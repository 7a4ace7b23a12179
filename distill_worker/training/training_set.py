"""The samples that a student learns from, on one device, and their order.

Images live on the device as uint8 and targets as aligned tensors, so no step waits for disk or network.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from distill_worker.data.preprocessing import Preprocessing
from distill_worker.methods.base import LOGITS


@dataclass(frozen=True)
class Pool:
    """Training images without bought outputs."""

    images: Tensor
    """uint8 `[samples, channels, height, width]`."""
    labels: Tensor | None
    """int64 `[samples]`, in the track labelled-pool."""

    def to(self, device: torch.device) -> "Pool":
        """A copy on another device."""
        return Pool(self.images.to(device), None if self.labels is None else self.labels.to(device))


@dataclass(frozen=True)
class Unbought:
    """Samples without bought outputs, which have those of an ensemble of students in their place."""

    images: Tensor
    """uint8 `[images, channels, height, width]`. The samples are among them, so no image is copied."""
    positions: Tensor
    """int64 `[samples]`: the place of each sample's image."""
    log_probabilities: Tensor
    """float32 `[samples, classes]`: the ensemble's outputs."""
    bought_share: float
    """The share of bought samples in a batch."""
    policy: str
    """The augmentation of their images."""

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True)
class Views:
    """Targets of a part of a batch, in place of the stored ones: an ensemble sees the view that the student sees."""

    log_probabilities: Callable[[Tensor], Tensor]
    """Of images as the student gets them, float32 `[images, classes]`."""
    bought_share: float
    """The share of a batch that has its stored outputs; of mixtures, none has."""
    policy: str
    """The augmentation of the other images."""

    def stored(self, batch_size: int) -> int:
        """How many images of a batch have their stored outputs: at least one, and not all."""
        return min(max(1, round(self.bought_share * batch_size)), batch_size - 1)


@dataclass(frozen=True)
class Rows:
    """The samples of a batch, as they are stored."""

    samples: Tensor
    """int64 `[batch]`: positions in the training set, where the unbought samples follow the bought ones."""
    images: Tensor
    targets: Mapping[str, Tensor]
    label_probabilities: Tensor
    labels: Tensor | None
    """None where an image is a mixture, or has an ensemble's probabilities in place of a label."""


@dataclass(frozen=True)
class TrainingSet:
    """The queried samples with their labels and targets."""

    images: Tensor
    """uint8 `[samples, channels, height, width]`."""
    label_probabilities: Tensor
    """float32 `[samples, classes]`: one-hot, or mixed where an image is a bought mixture."""
    labels: Tensor | None
    """int64 `[samples]`; None when some images are mixtures."""
    preprocessing: Preprocessing
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    """Stored teacher outputs, float32 `[samples, ...]` by kind."""
    pool: Pool | None = None
    validation: tuple[Tensor, Tensor] | None = None
    """uint8 images and int64 labels of the validation samples."""
    unbought: Unbought | None = None
    """Samples that every batch holds besides the queried ones."""
    views: Views | None = None
    """Absent: all images of a batch have their stored targets, whatever their views."""

    def __len__(self) -> int:
        return len(self.images)

    def only(self, rows: Tensor) -> "TrainingSet":
        """The queried samples in these rows, int64 `[samples]`, and everything else."""
        return replace(
            self,
            images=self.images[rows],
            label_probabilities=self.label_probabilities[rows],
            labels=None if self.labels is None else self.labels[rows],
            targets={kind: outputs[rows] for kind, outputs in self.targets.items()},
        )

    @property
    def outputs(self) -> Mapping[str, Tensor]:
        """The outputs of all samples, float32 `[samples, ...]` by kind: the teacher's, then the ensemble's."""
        if self.unbought is None:
            return self.targets
        return _joined(self.targets, self.unbought.log_probabilities)

    def parts(self, batch_size: int) -> tuple[int, int]:
        """How many queried and how many unbought samples a batch holds; each fills the places that the other leaves."""
        if self.unbought is None:
            return min(batch_size, len(self)), 0
        queried = min(max(1, round(self.unbought.bought_share * batch_size)), batch_size - 1, len(self))
        unbought = min(batch_size - queried, len(self.unbought))
        return min(batch_size - unbought, len(self)), unbought

    def rows(self, queried: Tensor, unbought: Tensor | None = None) -> Rows:
        """The queried and the unbought samples at these positions, each among its own kind."""
        images, probabilities = self.images[queried], self.label_probabilities[queried]
        targets = {kind: outputs[queried] for kind, outputs in self.targets.items()}
        labels = None if self.labels is None else self.labels[queried]
        if unbought is None or self.unbought is None:
            return Rows(queried, images, targets, probabilities, labels)
        outputs = self.unbought.log_probabilities[unbought]
        return Rows(
            samples=torch.cat([queried, len(self) + unbought]),
            images=torch.cat([images, self.unbought.images[self.unbought.positions[unbought]]]),
            targets=_joined(targets, outputs),
            label_probabilities=torch.cat([probabilities, outputs.exp()]),
            labels=None,
        )


def _joined(targets: Mapping[str, Tensor], log_probabilities: Tensor) -> dict[str, Tensor]:
    """The teacher's distributions, if there are any, with further rows. A method on features has no unbought rows."""
    return {kind: torch.cat([outputs, log_probabilities]) for kind, outputs in targets.items() if kind == LOGITS}


class BatchOrder:
    """Shuffled passes over `samples` positions, in full batches.

    An incomplete last batch is dropped, and the next pass is shuffled again. A set smaller than a batch is one batch.
    """

    def __init__(self, samples: int, batch_size: int, generator: torch.Generator) -> None:
        self._generator = generator
        self._samples = samples
        self._batch_size = min(batch_size, samples)
        self._pass = torch.empty(0, dtype=torch.int64)
        self._next = 0

    def next_batch(self) -> Tensor:
        """Positions of the next batch, int64 on the generator's device."""
        if self._next + self._batch_size > len(self._pass):
            self._pass = torch.randperm(self._samples, generator=self._generator, device=self._generator.device)
            self._next = 0
        batch = self._pass[self._next : self._next + self._batch_size]
        self._next += self._batch_size
        return batch

    def state(self) -> dict[str, Any]:
        """The state to store in a checkpoint."""
        return {"pass": self._pass, "next": self._next}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self._pass, self._next = state["pass"].to(self._generator.device), state["next"]
