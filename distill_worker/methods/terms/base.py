"""What all loss terms share: the batch that they see, the setting that they are made for, and their registry.

A term is a module, so that its parameters (a projection) reach the optimiser and its buffers (a memory) reach the
checkpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from distill_worker.methods.base import LOGITS, Method, method_name

Outputs = Mapping[str, Tensor]
"""By kind, `logits` or `features.<layer>`, float `[batch, ...]`."""


@dataclass(frozen=True)
class Batch:
    """The inputs and outputs of one training step, on one device."""

    student: Outputs
    teacher: Outputs
    """The stored outputs of the same samples; empty without a teacher. `logits` may be log-probabilities, if no
    method needs logits."""
    label_probabilities: Tensor
    """float `[batch, classes]`: one-hot, or mixed as the images are."""
    labels: Tensor | None
    """int64 `[batch]`; None when the samples are mixtures."""
    samples: Tensor
    """int64 `[batch]`: positions in the training set."""
    generator: torch.Generator
    """On the device that trains, so that no draw is waited for; a GPU so draws other numbers than the CPU."""
    step: int
    """Counted from 1."""
    labelled: tuple[Tensor, Tensor] | None = None
    """Student logits `[pool batch, classes]` and int64 labels of a batch from a labelled pool."""
    views: tuple[Tensor, Tensor] | None = None
    """Student logits `[pool batch, classes]` of two views of one batch from an unlabelled pool: of the one that learns,
    and of the one that labels."""


@dataclass(frozen=True)
class Setting:
    """The run that a term is made for."""

    num_classes: int
    steps: int
    student_shapes: Mapping[str, tuple[int, ...]]
    """Of one sample, by kind."""
    targets: Mapping[str, Tensor]
    """All stored teacher outputs, `[samples, ...]` by kind, aligned with the training set."""


@singledispatch
def make_term(method: Method, _setting: Setting) -> nn.Module | None:
    """The term of a method; its forward maps a batch to a scalar. None for a method that has only the labels.

    Each method registers its own.
    """
    raise NotImplementedError(f"expected a term of {method_name(method)} in distill_worker/methods/terms, got none")


@singledispatch
def make_label_term(_method: Method, _setting: Setting) -> nn.Module:
    """The term of the labels, cross-entropy unless a method registers another one."""
    return CrossEntropy()


class CrossEntropy(nn.Module):
    """Cross-entropy with the labels of the batch, or of the labelled pool's batch if there is one."""

    def forward(self, batch: Batch) -> Tensor:
        """The mean over the samples, in nats."""
        if batch.labelled is not None:
            logits, labels = batch.labelled
            return nn.functional.cross_entropy(logits, labels)
        target = batch.label_probabilities if batch.labels is None else batch.labels
        return nn.functional.cross_entropy(batch.student[LOGITS], target)


class LogitTerm(nn.Module):
    """A stateless loss of the student's and the teacher's logits."""

    def __init__(self, loss: Any, **parameters: Any) -> None:
        super().__init__()
        self._loss = loss
        self._parameters_of_loss = parameters

    def forward(self, batch: Batch) -> Tensor:
        """The loss of the batch."""
        value: Tensor = self._loss(batch.student[LOGITS], batch.teacher[LOGITS], **self._parameters_of_loss)
        return value


def probabilities_of(labels: Tensor, num_classes: int) -> Tensor:
    """One-hot rows, float32 `[samples, classes]`."""
    return one_hot(labels, num_classes).to(torch.float32)
