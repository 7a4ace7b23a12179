"""The checks that losses make first: a wrong shape broadcasts silently into a wrong number."""

import torch
from torch import Tensor


def check_logits(student_logits: Tensor, teacher_logits: Tensor, *, at_least: int = 1) -> None:
    """Raise `ValueError` unless both are float `[batch, classes]`, of one shape, with a batch of `at_least`."""
    for name, logits in (("student_logits", student_logits), ("teacher_logits", teacher_logits)):
        if logits.ndim != 2 or not logits.is_floating_point():
            raise ValueError(f"{name}: expected float [batch, classes], got {logits.dtype} {list(logits.shape)}")
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"teacher_logits: expected the student's shape {list(student_logits.shape)}, "
            f"got {list(teacher_logits.shape)}"
        )
    if len(student_logits) < at_least:
        raise ValueError(f"student_logits: expected a batch of at least {at_least}, got {len(student_logits)}")


def check_representations(
    student_logits: Tensor, teacher_logits: Tensor, *, at_least: int = 2, equal_dims: bool = False
) -> None:
    """Raise `ValueError` unless both are float `[batch, dims]` with one batch of `at_least` samples."""
    for name, rows in (("student_logits", student_logits), ("teacher_logits", teacher_logits)):
        if rows.ndim != 2 or not rows.is_floating_point() or rows.shape[1] < 1:
            raise ValueError(f"{name}: expected float [batch, dims], got {rows.dtype} {list(rows.shape)}")
    if len(student_logits) != len(teacher_logits) or (equal_dims and student_logits.shape != teacher_logits.shape):
        what = "shape" if equal_dims else "batch"
        raise ValueError(
            f"teacher_logits: expected the student's {what} {list(student_logits.shape)}, got "
            f"{list(teacher_logits.shape)}"
        )
    if len(student_logits) < at_least:
        raise ValueError(f"student_logits: expected a batch of at least {at_least}, got {len(student_logits)}")


def check_temperature(temperature: float) -> None:
    """Raise `ValueError` unless the temperature is positive and finite."""
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature: expected a positive finite number, got {temperature}")


def at_least_float32(logits: Tensor) -> Tensor:
    """Half-precision logits in float32: a divergence is a small difference of large terms."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def check_labels(labels: Tensor, logits: Tensor) -> None:
    """Raise `ValueError` unless labels are int64, one for each row of the logits; their range is not checked."""
    if labels.dtype != torch.int64 or labels.shape != logits.shape[:1]:
        raise ValueError(f"labels: expected int64 [{len(logits)}], got {labels.dtype} {list(labels.shape)}")
