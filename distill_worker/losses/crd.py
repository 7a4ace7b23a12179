"""Contrastive representation distillation: distinguish a sample's own pair of embeddings from mixed pairs."""

import torch
from torch import Tensor

from distill_worker.losses.shapes import at_least_float32

_EPSILON = 1e-7


def crd_loss(
    student_embeddings: Tensor,
    teacher_embeddings: Tensor,
    student_memory: Tensor,
    teacher_memory: Tensor,
    contrast: Tensor,
    *,
    student_normaliser: Tensor | float,
    teacher_normaliser: Tensor | float,
    temperature: float = 0.07,
) -> Tensor:
    """The noise-contrastive loss of picking a sample's row of the other side's memory among drawn ones, both ways.

    With `p = exp(embedding . row / temperature) / normaliser`, m negatives and n rows in the memory, each way costs
    `-mean(log(p / (p + m / n)) of the sample's own row + sum over negatives of log((m / n) / (p + m / n)))`.
    Gradient flows into both embeddings (the teacher's is a learned projection of its stored outputs), and into no
    memory. The paper draws 16,384 negatives; from a memory of few samples most are repetitions.

    Args:
        student_embeddings: float `[batch, dims]`, of length 1.
        teacher_embeddings: float `[batch, dims]`, of length 1.
        student_memory: float `[samples, dims]`: past student embeddings of all samples.
        teacher_memory: float `[samples, dims]`: past teacher embeddings of all samples.
        contrast: int64 `[batch, 1 + negatives]`: rows of the memories, the sample's own first.
        student_normaliser: positive, for the student against the teacher's memory, as `crd_normaliser` gives it.
        teacher_normaliser: the same for the teacher against the student's memory.
        temperature: positive.

    Returns:
        Scalar, in nats: the sum of both ways.

    Raises:
        ValueError: a wrong shape or a temperature that is not positive.

    Source: Tian et al. 2020, arXiv 1910.10699, equations (10) and (19); constants as in their code.
    """
    for name, rows in (("student_embeddings", student_embeddings), ("teacher_embeddings", teacher_embeddings)):
        if rows.ndim != 2 or not rows.is_floating_point() or rows.shape != student_embeddings.shape:
            raise ValueError(f"{name}: expected float [batch, dims] of one shape, got {rows.dtype} {list(rows.shape)}")
    for name, memory in (("student_memory", student_memory), ("teacher_memory", teacher_memory)):
        if memory.shape != (len(student_memory), student_embeddings.shape[1]) or not memory.is_floating_point():
            raise ValueError(
                f"{name}: expected float [samples, {student_embeddings.shape[1]}], got {memory.dtype} "
                f"{list(memory.shape)}"
            )
    if contrast.ndim != 2 or len(contrast) != len(student_embeddings) or contrast.shape[1] < 2:
        raise ValueError(
            f"contrast: expected int64 [{len(student_embeddings)}, 1 + negatives], got {contrast.dtype} "
            f"{list(contrast.shape)}"
        )
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature: expected a positive finite number, got {temperature}")
    with torch.autocast(student_embeddings.device.type, enabled=False):
        one_way = _contrasted(student_embeddings, teacher_memory, contrast, student_normaliser, temperature)
        other_way = _contrasted(teacher_embeddings, student_memory, contrast, teacher_normaliser, temperature)
    return one_way + other_way


def crd_normaliser(embeddings: Tensor, memory: Tensor, contrast: Tensor, *, temperature: float = 0.07) -> Tensor:
    """The constant that makes p a probability on average: the mean of `exp(embedding . row / temperature)` times n."""
    with torch.autocast(embeddings.device.type, enabled=False):
        return _scores(embeddings.detach(), memory, contrast, temperature).exp().mean() * len(memory)


def _contrasted(
    embeddings: Tensor, memory: Tensor, contrast: Tensor, normaliser: Tensor | float, temperature: float
) -> Tensor:
    p = _scores(embeddings, memory, contrast, temperature).exp() / normaliser
    noise = (contrast.shape[1] - 1) / len(memory)
    own = (p[:, 0] / (p[:, 0] + noise + _EPSILON)).log()
    others = (noise / (p[:, 1:] + noise + _EPSILON)).log()
    return -(own.sum() + others.sum()) / len(embeddings)


def _scores(embeddings: Tensor, memory: Tensor, contrast: Tensor, temperature: float) -> Tensor:
    """`[batch, 1 + negatives]`. All products at once: far cheaper than gathering a row for every negative."""
    products = at_least_float32(embeddings) @ at_least_float32(memory.detach()).T
    return products.gather(1, contrast) / temperature
