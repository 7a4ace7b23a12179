"""Methods by name: which loss terms a student is trained on, and with which weights.

Invariant: a method is a pure function of logits, labels and a random generator; it knows no data set and no teacher.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from distill_worker.config import CE, CKD, KD, Method
from distill_worker.losses import ckd_loss, draw_groups, drawn_ckd_loss, kd_loss

Objective = Callable[[Tensor, Tensor | None, Tensor, torch.Generator], dict[str, Tensor]]
"""Maps student logits `[batch, classes]`, teacher logits (or None), labels `[batch]` and a CPU generator to weighted
loss terms by name; their sum is what is minimised."""


def objective(method: Method) -> Objective:
    """The training objective of a configured method."""
    match method:
        case CE():
            return _cross_entropy
        case KD():
            return lambda student, teacher, labels, _: {
                "label": method.label_weight * cross_entropy(student, labels),
                "kd": method.weight * kd_loss(student, _bought(teacher), temperature=method.temperature),
            }
        case CKD():
            return lambda student, teacher, labels, generator: {
                "label": method.label_weight * cross_entropy(student, labels),
                "ckd": method.beta * _comparative(method, student, _bought(teacher), generator),
            }


def _cross_entropy(student: Tensor, _teacher: Tensor | None, labels: Tensor, _: torch.Generator) -> dict[str, Tensor]:
    return {"label": cross_entropy(student, labels)}


def _comparative(method: CKD, student: Tensor, teacher: Tensor, generator: torch.Generator) -> Tensor:
    if method.pairing == "all":
        return ckd_loss(student, teacher, temperature=method.temperature)
    groups = draw_groups(len(student), method.k, method.comparisons, generator).to(student.device)
    return drawn_ckd_loss(student, teacher, groups, temperature=method.temperature)


def _bought(teacher: Tensor | None) -> Tensor:
    if teacher is None:
        raise ValueError("this method trains on teacher outputs, and none were given")
    return teacher
