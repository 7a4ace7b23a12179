"""Pseudo-labels: one view of an unlabelled image, where the student is sure of it, teaches the other."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from distill_worker.losses.shapes import at_least_float32, check_logits


def pseudo_label_loss(student_logits: Tensor, view_logits: Tensor, *, threshold: float = 0.95) -> Tensor:
    """`mean_i [max p(view_i) >= threshold] CE(student_i, argmax p(view_i))` with p the softmax.

    Log-probabilities in place of logits, on either side, give the same value.

    Args:
        student_logits: float `[batch, classes]`, unnormalised: of the view that learns.
        view_logits: float `[batch, classes]`, unnormalised: of the view that labels; no gradient flows into it.
        threshold: a probability, from 0 to 1.

    Returns:
        Scalar, in nats; 0 where the student is sure of nothing.

    Raises:
        ValueError: a wrong shape, or a threshold that is no probability.

    Source: Sohn et al. 2020, arXiv 2001.07685, equation (4).
    Departs: the caller draws both views; in the paper the view that learns is distorted more strongly.
    """
    check_logits(student_logits, view_logits)
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold: expected a probability from 0 to 1, got {threshold}")
    confidence, labels = at_least_float32(view_logits.detach()).softmax(dim=1).max(dim=1)
    each = cross_entropy(at_least_float32(student_logits), labels, reduction="none")
    return (each * (confidence >= threshold)).mean()
