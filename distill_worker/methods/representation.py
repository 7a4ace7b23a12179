"""The representation of a sample that a relational method uses: its logits, or features of one layer."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from distill_worker.errors import ConfigError
from distill_worker.methods.base import LOGITS, Batch, Method, Setting, method_name

FEATURES = "features."


class OnRepresentation(Method):
    """The part of a configuration that chooses the representation."""

    on: Literal["logits", "log_probabilities", "features"] = "logits"
    """`features` needs a key that may see them."""
    teacher_layer: str = Field(default="pooled", min_length=1)
    """For `features`: maps are averaged over their area."""
    student_layer: str = Field(default="pooled", min_length=1)

    @property
    def teacher_kinds(self) -> tuple[str, ...]:
        """Logits, and the layer's features if the method uses them."""
        return (LOGITS, FEATURES + self.teacher_layer) if self.on == "features" else (LOGITS,)

    @property
    def needs_logits(self) -> str | None:
        """On logits: the comparison changes with the constant that a sample's log-probabilities lack."""
        if self.on != "logits":
            return None
        return (
            "it compares samples by the logits themselves, from which log-probabilities differ by another constant "
            "for each sample; set method.on = 'log_probabilities' to learn from any distribution"
        )

    def why_not_on(self, _num_classes: int, batch: int) -> str | None:
        """Too few samples to compare."""
        if batch >= self.least_batch:
            return None
        return (
            f"needs batches of at least {self.least_batch} samples, got {batch}: it compares samples with each other. "
            "Use more samples or another method"
        )

    @property
    def least_batch(self) -> int:
        """The fewest samples between which there is something to compare."""
        return 2

    @property
    def student_layers(self) -> tuple[str, ...]:
        """The student's layer, if features are used."""
        return (self.student_layer,) if self.on == "features" else ()


class Representation(nn.Module):
    """Student and teacher rows `[batch, dims]` of a batch; `equal_dims` adds a learned projection where they differ."""

    def __init__(self, method: OnRepresentation, setting: Setting, *, equal_dims: bool) -> None:
        super().__init__()
        self._on = method.on
        self.student_kind, self.teacher_kind = (
            (FEATURES + method.student_layer, FEATURES + method.teacher_layer)
            if method.on == "features"
            else (LOGITS, LOGITS)
        )
        student_dims = setting.student_shapes[self.student_kind][0]
        teacher_dims = setting.targets[self.teacher_kind].shape[1]
        self.projection: nn.Module = nn.Identity()
        if equal_dims and student_dims != teacher_dims:
            self.projection = nn.Linear(student_dims, teacher_dims, bias=False)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The rows of the batch."""
        student = self.projection(self._rows(batch.student[self.student_kind]))
        return student, self.of_teacher(batch.teacher[self.teacher_kind])

    def of_teacher(self, outputs: Tensor) -> Tensor:
        """The rows of stored teacher outputs."""
        return self._rows(outputs)

    def _rows(self, outputs: Tensor) -> Tensor:
        if outputs.ndim > 2:
            outputs = outputs.flatten(2).mean(dim=2)
        return torch.log_softmax(outputs, dim=1) if self._on == "log_probabilities" else outputs


def check_dims(key: str, method: Method, dims: int) -> None:
    """Check that the features that `key` names have several dimensions, for a method that compares directions.

    Raises:
        ConfigError: there is one dimension, in which the method has no gradient.
    """
    if dims < 2:
        raise ConfigError(
            f"method.{key}: {method_name(method)} has no gradient on features of a single dimension; choose another "
            "layer"
        )
