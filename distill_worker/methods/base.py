"""The base of all methods: a method's parameters, its needs, and the loss term that it adds.

A method's class is its section of the run's configuration, its row in `distill-worker methods`, and the factory of its
term. A term is a module, so that its parameters (a projection) reach the optimiser and its buffers (a memory) reach the
checkpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import one_hot

Outputs = Mapping[str, Tensor]
"""By kind, `logits` or `features.<layer>`, float `[batch, ...]`."""

LOGITS = "logits"


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
    """Student logits `[pool batch, classes]` of two augmentations of one batch from an unlabelled pool."""


@dataclass(frozen=True)
class Setting:
    """The run that a method makes its terms for."""

    num_classes: int
    steps: int
    student_shapes: Mapping[str, tuple[int, ...]]
    """Of one sample, by kind."""
    targets: Mapping[str, Tensor]
    """All stored teacher outputs, `[samples, ...]` by kind, aligned with the training set."""


class Method(BaseModel):
    """The base of every method's configuration. The class attributes are the same for every run of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    paper: ClassVar[str]
    access: ClassVar[Literal["none", "black box", "white box"]] = "black box"
    """What the method needs of a teacher: nothing, the outputs that any API sells, or intermediate features."""
    needs_labels: ClassVar[bool] = False
    """Whether the term, besides cross-entropy, needs one true label for each sample: it cannot be mixed."""
    needs_identity: ClassVar[bool] = False
    """Whether the term remembers samples by their position: it cannot be mixed."""
    needs_pool: ClassVar[bool] = False
    """Whether it learns from unlabelled images without bought outputs."""

    label_weight: float = Field(default=1.0, ge=0)
    """Of the cross-entropy with the labels."""

    @property
    def needs_teacher(self) -> bool:
        """Whether outputs have to be bought."""
        return bool(self.teacher_kinds)

    @property
    def teacher_kinds(self) -> tuple[str, ...]:
        """The kinds of output to buy; one call buys them all. `logits` stands for any distribution."""
        return () if self.access == "none" else (LOGITS,)

    @property
    def needs_logits(self) -> str | None:
        """The reason why the method needs logits; None if any distribution is enough."""
        return None

    def why_not_on(self, _num_classes: int, _batch: int) -> str | None:
        """Why the term has no gradient on so many classes or samples a step, or fails; None if it teaches."""
        return None

    @property
    def student_layers(self) -> tuple[str, ...]:
        """The student's layers whose features the term sees."""
        return ()

    @property
    def term_weight(self) -> float:
        """The weight of the term."""
        return float(getattr(self, "weight", 1.0))

    def make_label_term(self, _setting: Setting) -> nn.Module:
        """The term of the labels; its forward maps a batch to a scalar."""
        return CrossEntropy()

    def make_term(self, _setting: Setting) -> nn.Module | None:
        """The term of the teacher's outputs; its forward maps a batch to a scalar. None for a method without one."""
        return None


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


def method_name(method: Method) -> str:
    """The name in the registry."""
    return str(type(method).model_fields["name"].default)
