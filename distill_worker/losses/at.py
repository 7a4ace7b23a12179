"""Attention transfer: the student's features are strong where the teacher's are."""

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from distill_worker.losses.shapes import at_least_float32


def at_loss(student_features: Tensor, teacher_features: Tensor, *, power: int = 2) -> Tensor:
    """`mean (A_s / |A_s| - A_z / |A_z|)^2` over samples and places, A the mean over channels of `|features|^power`.

    With a single place it is 0.

    Args:
        student_features: float `[batch, channels, height, width]`.
        teacher_features: float, of the same batch; no gradient flows into it. Channels may be others; of two areas the
            larger is averaged down to the smaller.
        power: at least 1.

    Returns:
        Scalar without unit.

    Raises:
        ValueError: a wrong shape, or an argument outside its domain.

    Source: Zagoruyko and Komodakis 2017, arXiv 1612.03928, equation (2).
    Departs: the mean over places instead of half the norm, as in their code.
    """
    for name, features in (("student_features", student_features), ("teacher_features", teacher_features)):
        if features.ndim != 4 or not features.is_floating_point() or len(features) != len(student_features):
            raise ValueError(
                f"{name}: expected float [batch, channels, height, width] of one batch, got {features.dtype} "
                f"{list(features.shape)}"
            )
    if power < 1:
        raise ValueError(f"power: expected at least 1, got {power}")
    areas = zip(student_features.shape[2:], teacher_features.shape[2:], strict=True)
    height, width = (min(sides) for sides in areas)
    student, teacher = (
        _attention(at_least_float32(features), (height, width), power)
        for features in (student_features, teacher_features.detach())
    )
    return (student - teacher).square().mean()


def _attention(features: Tensor, area: tuple[int, int], power: int) -> Tensor:
    if features.shape[2:] != area:
        features = adaptive_avg_pool2d(features, area)
    return normalize(features.abs().pow(power).mean(dim=1).flatten(1))
