"""The rows that a relational term compares: logits, or features of one layer."""

import torch
from torch import Tensor, nn

from distill_worker.errors import ConfigError
from distill_worker.methods.base import LOGITS, Method, method_name
from distill_worker.methods.representation import FEATURES, OnRepresentation
from distill_worker.methods.terms.base import Batch, Setting


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
