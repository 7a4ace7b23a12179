"""Variational information distillation: the teacher's features are likely, given the student's."""

from torch import Tensor
from torch.nn.functional import softplus

from distill_worker.losses.shapes import at_least_float32


def vid_loss(
    student_mean: Tensor, teacher_features: Tensor, alpha: Tensor, *, minimum_variance: float = 1e-5
) -> Tensor:
    """`mean of log(sigma^2) / 2 + (teacher - mean)^2 / (2 sigma^2)`, `sigma^2 = softplus(alpha) + minimum`.

    Args:
        student_mean: float `[batch, channels, ...]`, the regressor's output on the student's features.
        teacher_features: float, of the same shape; no gradient flows into it.
        alpha: float `[channels]`, learned with the regressor: leave it out of the optimiser and no variance is learned.
        minimum_variance: positive.

    Returns:
        Scalar, in nats up to a constant; it may be negative.

    Raises:
        ValueError: a wrong shape, or a minimum that is not positive.

    Source: Ahn et al. 2019, arXiv 1904.05835, equations (5) and (6).
    """
    for name, features in (("student_mean", student_mean), ("teacher_features", teacher_features)):
        if features.ndim < 2 or not features.is_floating_point() or not len(features):
            raise ValueError(
                f"{name}: expected float [batch, channels, ...], got {features.dtype} {list(features.shape)}"
            )
    if student_mean.shape != teacher_features.shape:
        raise ValueError(
            f"teacher_features: expected the student's shape {list(student_mean.shape)}, got "
            f"{list(teacher_features.shape)}"
        )
    if alpha.shape != student_mean.shape[1:2] or not alpha.is_floating_point():
        raise ValueError(f"alpha: expected float [{student_mean.shape[1]}], got {alpha.dtype} {list(alpha.shape)}")
    if not 0 < minimum_variance < float("inf"):
        raise ValueError(f"minimum_variance: expected a positive finite number, got {minimum_variance}")
    variance = softplus(at_least_float32(alpha)) + minimum_variance
    variance = variance.view(1, -1, *[1] * (student_mean.ndim - 2))
    squares = (at_least_float32(teacher_features.detach()) - at_least_float32(student_mean)).square()
    return (variance.log() / 2 + squares / (2 * variance)).mean()
