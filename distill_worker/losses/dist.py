"""DIST: the student's predictions correlate with the teacher's, over classes and over samples."""

from torch import Tensor
from torch.nn.functional import cosine_similarity

from distill_worker.losses.shapes import at_least_float32, check_logits, check_temperature

_EPSILON = 1e-8


def dist_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 4.0,
    inter_weight: float = 1.0,
    intra_weight: float = 1.0,
) -> Tensor:
    """`T^2 (inter (1 - mean rho over rows) + intra (1 - mean rho over columns))` of the softmaxes at temperature T.

    rho is Pearson's correlation: of a sample's probabilities over the classes (inter-class), and of a class's
    probabilities over the batch (intra-class). Log-probabilities in place of logits, on either side, give the same
    value. A row or column that does not vary has correlation 0. A row of 2 classes, or a column of 2 samples, has
    correlation 1 or -1 and no gradient.

    Args:
        student_logits: float `[batch, classes]`, unnormalised; a batch of at least 2.
        teacher_logits: float `[batch, classes]`, unnormalised; no gradient flows into it.
        temperature: positive.
        inter_weight: of the correlation over classes.
        intra_weight: of the correlation over samples.

    Returns:
        Scalar, a correlation distance times `temperature ** 2`.

    Raises:
        ValueError: a wrong shape or a temperature that is not positive.

    Source: Huang et al. 2022, arXiv 2205.10536, equations (5), (7), (9) and (10); the factor `T ** 2` as in their code.
    """
    check_logits(student_logits, teacher_logits, at_least=2)
    check_temperature(temperature)
    q = (at_least_float32(student_logits) / temperature).softmax(dim=1)
    p = (at_least_float32(teacher_logits.detach()) / temperature).softmax(dim=1)
    inter = 1 - _correlation(q, p, dim=1).mean()
    intra = 1 - _correlation(q, p, dim=0).mean()
    return temperature**2 * (inter_weight * inter + intra_weight * intra)


def _correlation(first: Tensor, second: Tensor, dim: int) -> Tensor:
    first, second = (side - side.mean(dim=dim, keepdim=True) for side in (first, second))
    return cosine_similarity(first, second, dim=dim, eps=_EPSILON)
