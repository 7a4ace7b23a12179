"""A plain PyTorch loop for knowledge distillation, in the manner of RepDistiller.

Source: Tian et al. 2020, arXiv 1910.10699, and its release. Images come from a DataLoader with worker processes and
are transformed one by one with PIL; each step has the teacher's forward pass; loss and accuracy are read on each step.
"""

import time
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from torch.utils.data import DataLoader

from benchmarks.training.cifar_images import CifarImages
from benchmarks.training.students import BATCH, CLASSES, TEACHER, network, optimizer_of
from benchmarks.training.turns import Subject, mean_interval

WORKERS = 2
"""Processes that load images, beside the one that trains: as many as the machine has cores."""
TEMPERATURE, LABEL_WEIGHT, TEACHER_WEIGHT = 4.0, 0.1, 0.9


def plain_loop(steps: int, *, live_teacher: bool = True) -> Subject:
    """An epoch of `steps` steps, timed from the end of one that goes before: the workers' start does not count.

    Args:
        steps: of an epoch.
        live_teacher: compute the teacher's logits on each step, as the literature does. Otherwise they are fixed.
    """
    images = CifarImages((steps + 1) * BATCH)
    student, teacher = network(), network(TEACHER).eval()
    optimizer = optimizer_of(student)
    fixed_logits = 3 * torch.randn(BATCH, CLASSES, generator=torch.Generator().manual_seed(0))

    def step(inputs: Tensor, labels: Tensor) -> None:
        logits = student(inputs)
        with torch.no_grad():
            teacher_logits = teacher(inputs) if live_teacher else fixed_logits
        loss = LABEL_WEIGHT * cross_entropy(logits, labels) + TEACHER_WEIGHT * _divergence(logits, teacher_logits)
        _accuracy(logits, labels).item()
        loss.item()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def epoch() -> float:
        loader = DataLoader(images, batch_size=BATCH, shuffle=True, num_workers=WORKERS, drop_last=True)
        return mean_interval([time.perf_counter() for _ in _steps(loader)])

    def _steps(loader: "DataLoader[tuple[Tensor, int]]") -> Iterator[None]:
        student.train()
        for inputs, labels in loader:
            step(inputs, labels)
            yield

    return epoch


def _divergence(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    log_q = log_softmax(student_logits / TEMPERATURE, dim=1)
    p = (teacher_logits / TEMPERATURE).softmax(dim=1)
    return TEMPERATURE**2 * kl_div(log_q, p, reduction="batchmean")


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    best = logits.topk(5, dim=1).indices == labels[:, None]
    return best.any(dim=1).float().mean()
