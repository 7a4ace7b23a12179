"""Comparative knowledge distillation as a method: which comparisons a step makes."""

from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from distill_worker.losses import (
    centroid_ckd_loss,
    ckd_loss,
    cross_ckd_loss,
    draw_groups,
    drawn_ckd_loss,
    share_a_sample,
)
from distill_worker.losses.ckd import Comparison
from distill_worker.methods.base import LOGITS, Batch, CrossEntropy, Setting
from distill_worker.methods.representation import OnRepresentation, Representation, check_dims


class CKD(OnRepresentation):
    """Comparative KD: the student learns how the teacher's outputs differ between samples."""

    name: Literal["ckd"] = "ckd"
    paper: ClassVar = "Wilf et al. 2023, arXiv 2311.02253"
    temperature: float = Field(default=4.0, gt=0)
    beta: float = Field(default=1.0, ge=0)
    """The weight of the comparisons."""
    k: int = Field(default=2, ge=2)
    """Samples a comparison: ceil(k / 2) in group A, the rest in group B."""
    pairing: Literal["all", "drawn", "memory", "anchors"] = "all"
    """`all`: every A with every B of the batch. `drawn`: random groups of k, each by itself, as the authors do.
    `memory`: the batch with past student outputs. `anchors`: the batch with the teacher's own bought outputs."""
    comparison: Comparison = "difference"
    comparisons: int = Field(default=1024, ge=1)
    """For `drawn`: groups a step."""
    groups: int = Field(default=64, ge=1)
    """For k > 2 and not `drawn`: groups drawn a step on each side, all of them compared."""
    others: int = Field(default=256, ge=2)
    """For `memory` and `anchors`: how many past or bought outputs a batch is compared with."""
    label_term: Literal["cross_entropy", "comparative"] = "cross_entropy"
    """`comparative`: the classification term is the same comparison with one-hot labels in the teacher's place, as in
    the authors' code; the paper's text has cross-entropy."""

    @model_validator(mode="after")
    def _labels_have_logits(self) -> "CKD":
        if self.label_term == "comparative" and self.on == "features":
            raise ValueError("label_term 'comparative' compares logits with labels, got on = 'features'")
        return self

    @property
    def needs_logits(self) -> str | None:
        """None: a number that is added to all logits of a sample is added to all classes of its comparisons."""
        return None

    @property
    def least_batch(self) -> int:
        """The samples of one comparison."""
        return self.k

    @property
    def term_weight(self) -> float:
        """Beta."""
        return self.beta

    def make_label_term(self, _setting: Setting) -> nn.Module:
        """Cross-entropy, or comparisons with the labels."""
        return CrossEntropy() if self.label_term == "cross_entropy" else _ComparedLabels(self)

    def make_term(self, setting: Setting) -> nn.Module:
        """The comparisons with the teacher."""
        return _Comparisons(self, setting)


class _Comparisons(nn.Module):
    """Student and teacher compared as the method configures it. The memory, if any, is part of the state."""

    past_student: Tensor
    past_teacher: Tensor
    past_samples: Tensor
    anchors: Tensor

    def __init__(self, method: CKD, setting: Setting) -> None:
        super().__init__()
        self._method = method
        self.representation = Representation(method, setting, equal_dims=True)
        bought = self.representation.of_teacher(setting.targets[self.representation.teacher_kind])
        check_dims("teacher_layer", method, bought.shape[1])
        if method.pairing == "anchors":
            self.register_buffer("anchors", bought, persistent=False)
        if method.pairing == "memory":
            self.register_buffer("past_student", torch.zeros(method.others, bought.shape[1]))
            self.register_buffer("past_teacher", torch.zeros(method.others, bought.shape[1]))
            self.register_buffer("past_samples", torch.full((method.others,), -1))

    def forward(self, batch: Batch) -> Tensor:
        student, teacher = self.representation(batch)
        if self._method.pairing in ("all", "drawn"):
            return _within_batch(self._method, student, teacher, batch.generator)
        if self._method.pairing == "anchors":
            order = torch.randperm(len(self.anchors), generator=batch.generator, device=batch.generator.device)
            chosen = order[: self._method.others]
            return _with_others(
                self._method, batch, student, teacher, self.anchors[chosen], self.anchors[chosen], chosen
            )
        past = self.past_student.to(student.dtype).clone()
        loss = _with_others(
            self._method, batch, student, teacher, past, self.past_teacher.clone(), self.past_samples.clone()
        )
        self._remember(student.detach(), teacher, batch.samples)
        return loss

    def _remember(self, student: Tensor, teacher: Tensor, samples: Tensor) -> None:
        """The newest first, as many as fit."""
        for kept, new in (
            (self.past_student, student),
            (self.past_teacher, teacher),
            (self.past_samples, samples),
        ):
            kept.copy_(torch.cat([new.to(kept.dtype), kept])[: len(kept)])


class _ComparedLabels(nn.Module):
    """The batch's comparisons with one-hot labels in the teacher's place."""

    def __init__(self, method: CKD) -> None:
        super().__init__()
        self._method = method

    def forward(self, batch: Batch) -> Tensor:
        return _within_batch(self._method, batch.student[LOGITS], batch.label_probabilities, batch.generator)


def _within_batch(method: CKD, student: Tensor, teacher: Tensor, generator: torch.Generator) -> Tensor:
    if method.pairing == "drawn":
        groups = draw_groups(len(student), method.k, method.comparisons, generator)
        share = _share(method, generator, method.comparisons)
        return drawn_ckd_loss(
            student, teacher, groups, temperature=method.temperature, comparison=method.comparison, share=share
        )
    share = _share(method, generator)
    if method.k == 2:
        return ckd_loss(student, teacher, temperature=method.temperature, comparison=method.comparison, share=share)
    groups = draw_groups(len(student), method.k, method.groups, generator)
    return centroid_ckd_loss(
        student, teacher, groups, temperature=method.temperature, comparison=method.comparison, share=share
    )


def _with_others(
    method: CKD,
    batch: Batch,
    student: Tensor,
    teacher: Tensor,
    other_student: Tensor,
    other_teacher: Tensor,
    other_samples: Tensor,
) -> Tensor:
    """The batch, or centroids of it, with others; a place of the memory that is still empty has sample -1."""
    group_a = torch.arange(len(student), device=student.device)[:, None]
    group_b = torch.arange(len(other_student), device=student.device)[:, None]
    if method.k > 2:
        size_a, size_b = (method.k + 1) // 2, method.k // 2
        group_a = _drawn_subsets(len(student), size_a, method.groups, batch.generator)
        group_b = _drawn_subsets(len(other_student), size_b, method.groups, batch.generator)
    others = other_samples[group_b]
    left_out = share_a_sample(batch.samples[group_a], others) | (others < 0).any(dim=1)[None]
    return cross_ckd_loss(
        student[group_a].mean(dim=1),
        teacher[group_a].mean(dim=1),
        other_student[group_b].mean(dim=1),
        other_teacher[group_b].mean(dim=1),
        same_sample=left_out,
        temperature=method.temperature,
        comparison=method.comparison,
        share=_share(method, batch.generator),
    )


def _drawn_subsets(samples: int, size: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, samples, generator=generator, device=generator.device).topk(size, dim=1).indices


def _share(method: CKD, generator: torch.Generator, *shape: int) -> float | Tensor:
    """For interpolation Beta(1, 1), which is uniform: one a step where all are compared with all, else of a shape."""
    if method.comparison != "interpolation":
        return 0.5
    return torch.rand(shape, generator=generator, device=generator.device)
