"""Transformed teacher matching: the teacher is softened, the student is not."""

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from distill_worker.losses.shapes import at_least_float32, check_logits, check_temperature


def ttm_loss(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """`KL(softmax(z / T) || softmax(s))`, averaged over the batch.

    Log-probabilities in place of logits, on either side, give the same value.

    Args:
        student_logits: float `[batch, classes]`, unnormalised.
        teacher_logits: float `[batch, classes]`, unnormalised; no gradient flows into it.
        temperature: positive.

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: a wrong shape or a temperature that is not positive.

    Source: Zheng and Yang 2024, arXiv 2402.11148, section 3.
    """
    return _divergences(student_logits, teacher_logits, temperature).mean()


def wttm_loss(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """`U(p) KL(softmax(z / T) || softmax(s))`, averaged over the batch, with `U(p) = sum over classes of p^(1 / T)`.

    p is the teacher's distribution at temperature 1; U is 1 where the teacher is certain and largest where it is even.
    Log-probabilities in place of logits, on either side, give the same value.

    Args:
        student_logits: float `[batch, classes]`, unnormalised.
        teacher_logits: float `[batch, classes]`, unnormalised; no gradient flows into it.
        temperature: positive.

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: a wrong shape or a temperature that is not positive.

    Source: Zheng and Yang 2024, arXiv 2402.11148, section 4.
    """
    divergences = _divergences(student_logits, teacher_logits, temperature)
    log_p = log_softmax(at_least_float32(teacher_logits.detach()), dim=1)
    return ((log_p / temperature).exp().sum(dim=1) * divergences).mean()


def _divergences(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    check_logits(student_logits, teacher_logits)
    check_temperature(temperature)
    log_p = log_softmax(at_least_float32(teacher_logits.detach()) / temperature, dim=1)
    log_q = log_softmax(at_least_float32(student_logits), dim=1)
    return kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)
