"""The samples that a student learns from, on one device, and their order.

Images live on the device as uint8 and targets as aligned tensors, so no step waits for disk or network.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from distill_worker.data.preprocessing import Preprocessing


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

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, rows: Tensor) -> "TrainingSet":
        """These queried samples alone, int64 `[samples]`, with the same pool and validation samples."""
        return replace(
            self,
            images=self.images[rows],
            label_probabilities=self.label_probabilities[rows],
            labels=None if self.labels is None else self.labels[rows],
            targets={kind: outputs[rows] for kind, outputs in self.targets.items()},
        )


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
