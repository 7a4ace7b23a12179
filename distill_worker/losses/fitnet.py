"""Hints: the student's features, through a learned regressor, are the teacher's."""

from torch import Tensor

from distill_worker.losses.shapes import at_least_float32


def fitnet_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """`mean (student - teacher)^2` over all values.

    Args:
        student_features: float `[batch, ...]`, the regressor's output on the student's features.
        teacher_features: float, of the same shape; no gradient flows into it.

    Returns:
        Scalar, in squared units of the features.

    Raises:
        ValueError: a wrong shape.

    Source: Romero et al. 2015, arXiv 1412.6550, equation (3).
    Departs: the mean over values instead of half the sum, as in Tian et al. 2020, arXiv 1910.10699.
    """
    for name, features in (("student_features", student_features), ("teacher_features", teacher_features)):
        if features.ndim < 2 or not features.is_floating_point() or not len(features):
            raise ValueError(f"{name}: expected float [batch, ...], got {features.dtype} {list(features.shape)}")
    if student_features.shape != teacher_features.shape:
        raise ValueError(
            f"teacher_features: expected the student's shape {list(student_features.shape)}, got "
            f"{list(teacher_features.shape)}"
        )
    return (at_least_float32(student_features) - at_least_float32(teacher_features.detach())).square().mean()
