"""Logit standardisation: KD on logits that are standardised sample by sample, so that no scale need be matched."""

from torch import Tensor

from distill_worker.losses.kd import kd_loss
from distill_worker.losses.shapes import at_least_float32, check_logits

_EPSILON = 1e-7


def lskd_loss(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 2.0) -> Tensor:
    """`T^2 KL(softmax(Z(z) / T) || softmax(Z(s) / T))`, averaged over the batch, with `Z(x) = (x - mean) / std`.

    Mean and (unbiased) standard deviation are those of a sample's logits over the classes. Log-probabilities in place
    of logits, on either side, give the same value. With 2 classes the gradient is 0: only the order of two standardised
    logits is left.

    Args:
        student_logits: float `[batch, classes]`, unnormalised; at least 2 classes.
        teacher_logits: float `[batch, classes]`, unnormalised; no gradient flows into it.
        temperature: positive.

    Returns:
        Scalar, in nats times `temperature ** 2`.

    Raises:
        ValueError: a wrong shape or a temperature that is not positive.

    Source: Sun et al. 2024, arXiv 2403.01427, algorithms 1 and 2; 1e-7 is added to the deviation, as in their code.
    """
    check_logits(student_logits, teacher_logits)
    if student_logits.shape[1] < 2:
        raise ValueError(f"student_logits: expected at least 2 classes, got {student_logits.shape[1]}")
    return kd_loss(_standardised(student_logits), _standardised(teacher_logits.detach()), temperature=temperature)


def _standardised(logits: Tensor) -> Tensor:
    logits = at_least_float32(logits)
    return (logits - logits.mean(dim=1, keepdim=True)) / (logits.std(dim=1, keepdim=True) + _EPSILON)
