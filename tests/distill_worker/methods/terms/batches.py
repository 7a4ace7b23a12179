"""A small batch that the tests of methods share."""

from typing import Any

import torch
from torch import Tensor

from distill_worker.methods import Method
from distill_worker.methods.base import LOGITS
from distill_worker.methods.terms import Batch, Objective, Setting
from distill_worker.methods.terms.base import probabilities_of

SAMPLES, CLASSES = 12, 3


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


TARGETS = {
    LOGITS: _random(SAMPLES, CLASSES, seed=1),
    "features.pooled": _random(SAMPLES, 5, seed=2),
    "features.stage2": _random(SAMPLES, 4, 2, 2, seed=3),
}
SHAPES = {LOGITS: (CLASSES,), "features.pooled": (7,), "features.stage2": (6, 4, 4)}
LABELS = torch.arange(SAMPLES) % CLASSES


def made(*methods: Method, steps: int = 24, seed: int = 0) -> Objective:
    """An objective for the batches here."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Objective(methods, Setting(CLASSES, steps, SHAPES, TARGETS))


def batch(positions: list[int] | None = None, *, student_seed: int = 4, **changes: Any) -> Batch:
    """The student's outputs on these samples of the set, and what is stored of them."""
    here = torch.tensor(positions or [0, 2, 3, 7, 8, 11])
    student = {kind: _random(len(here), *shape, seed=student_seed + len(kind)) for kind, shape in SHAPES.items()}
    given: dict[str, Any] = {
        "student": {kind: values.requires_grad_() for kind, values in student.items()},
        "teacher": {kind: values[here] for kind, values in TARGETS.items()},
        "label_probabilities": probabilities_of(LABELS[here], CLASSES),
        "labels": LABELS[here],
        "samples": here,
        "generator": torch.Generator().manual_seed(0),
        "step": 1,
    }
    return Batch(**given | changes)


def cross_entropy_by_hand(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log softmax at the label."""
    return -torch.stack([row[label] - row.exp().sum().log() for row, label in zip(logits, labels, strict=True)]).mean()
