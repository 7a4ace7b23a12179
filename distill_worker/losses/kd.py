"""Knowledge distillation: each sample's softened teacher distribution is the target."""

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from distill_worker.losses.shapes import at_least_float32, check_logits, check_temperature


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """`T^2 KL(softmax(z / T) || softmax(s / T))`, averaged over the batch.

    Log-probabilities in place of the teacher's (or the student's) logits give exactly the same value.

    Args:
        student_logits: float `[batch, classes]`, unnormalised.
        teacher_logits: float `[batch, classes]`, unnormalised; no gradient flows into it.
        temperature: positive.

    Returns:
        Scalar, in nats times `temperature ** 2`.

    Raises:
        ValueError: a wrong shape or a temperature that is not positive.

    Source: Hinton, Vinyals and Dean 2015, arXiv 1503.02531, section 2.
    """
    check_logits(student_logits, teacher_logits)
    check_temperature(temperature)
    log_p = log_softmax(at_least_float32(teacher_logits.detach()) / temperature, dim=1)
    log_q = log_softmax(at_least_float32(student_logits) / temperature, dim=1)
    return temperature**2 * kl_div(log_q, log_p, reduction="batchmean", log_target=True)
