"""The check that every relational loss makes first."""

from torch import Tensor


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
