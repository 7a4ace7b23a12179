"""The comparisons that a step of CKD makes, and its memory."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from distill_worker.losses import (
    centroid_ckd_loss,
    ckd_loss,
    cross_ckd_loss,
    draw_groups,
    drawn_ckd_loss,
    logit_variance,
    mse_centroid_ckd_loss,
    mse_ckd_loss,
    mse_cross_ckd_loss,
    mse_drawn_ckd_loss,
    share_a_sample,
)
from distill_worker.methods.base import LOGITS
from distill_worker.methods.ckd import CKD
from distill_worker.methods.terms.base import Batch, CrossEntropy, Setting, make_label_term, make_term
from distill_worker.methods.terms.representation import Representation, check_dims


class _Losses(NamedTuple):
    """The losses of one divergence, by what is compared with what."""

    pairs: Callable[..., Tensor]
    centroids: Callable[..., Tensor]
    drawn: Callable[..., Tensor]
    others: Callable[..., Tensor]


_LOSSES: Final[Mapping[str, _Losses]] = {
    "kl": _Losses(ckd_loss, centroid_ckd_loss, drawn_ckd_loss, cross_ckd_loss),
    "mse": _Losses(mse_ckd_loss, mse_centroid_ckd_loss, mse_drawn_ckd_loss, mse_cross_ckd_loss),
}


@make_label_term.register
def _labels_of_ckd(method: CKD, setting: Setting) -> nn.Module:
    if method.label_term == "cross_entropy":
        return CrossEntropy()
    return _ComparedLabels(_Compared(method, setting.targets[LOGITS]))


@make_term.register(CKD)
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
        self._compared = _Compared(method, bought)
        if method.pairing == "anchors":
            self.register_buffer("anchors", bought, persistent=False)
        if method.pairing == "memory":
            self.register_buffer("past_student", torch.zeros(method.others, bought.shape[1]))
            self.register_buffer("past_teacher", torch.zeros(method.others, bought.shape[1]))
            self.register_buffer("past_samples", torch.full((method.others,), -1))

    def forward(self, batch: Batch) -> Tensor:
        student, teacher = self.representation(batch)
        if self._method.pairing in ("all", "drawn"):
            return self._compared.within_batch(student, teacher, batch.generator)
        if self._method.pairing == "anchors":
            order = torch.randperm(len(self.anchors), generator=batch.generator, device=batch.generator.device)
            chosen = order[: self._method.others]
            return self._compared.with_others(
                batch, student, teacher, (self.anchors[chosen], self.anchors[chosen]), chosen
            )
        past = self.past_student.to(student.dtype).clone()
        loss = self._compared.with_others(
            batch, student, teacher, (past, self.past_teacher.clone()), self.past_samples.clone()
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

    def __init__(self, compared: "_Compared") -> None:
        super().__init__()
        self._compared = compared

    def forward(self, batch: Batch) -> Tensor:
        return self._compared.within_batch(batch.student[LOGITS], batch.label_probabilities, batch.generator)


class _Compared(nn.Module):
    """The losses of the method's divergence, with its temperature or the variance of the teacher's outputs."""

    variance: Tensor

    def __init__(self, method: CKD, bought: Tensor) -> None:
        super().__init__()
        self._method = method
        self._losses = _LOSSES[method.divergence]
        self.register_buffer("variance", logit_variance(bought), persistent=False)

    def within_batch(self, student: Tensor, teacher: Tensor, generator: torch.Generator) -> Tensor:
        method = self._method
        if method.pairing == "drawn":
            groups = draw_groups(len(student), method.k, method.comparisons, generator)
            share = _share(method, generator, method.comparisons)
            return self._losses.drawn(student, teacher, groups, **self._options(share))
        share = _share(method, generator)
        if method.k == 2:
            return self._losses.pairs(student, teacher, **self._options(share))
        groups = draw_groups(len(student), method.k, method.groups, generator)
        return self._losses.centroids(student, teacher, groups, **self._options(share))

    def with_others(
        self, batch: Batch, student: Tensor, teacher: Tensor, others: tuple[Tensor, Tensor], other_samples: Tensor
    ) -> Tensor:
        """The batch, or centroids of it, with others; a place of the memory that is still empty has sample -1.

        `others` are outputs in the student's place, and the teacher's.
        """
        method = self._method
        group_a = torch.arange(len(student), device=student.device)[:, None]
        group_b = torch.arange(len(other_samples), device=student.device)[:, None]
        if method.k > 2:
            size_a, size_b = (method.k + 1) // 2, method.k // 2
            group_a = _drawn_subsets(len(student), size_a, method.groups, batch.generator)
            group_b = _drawn_subsets(len(other_samples), size_b, method.groups, batch.generator)
        samples = other_samples[group_b]
        left_out = share_a_sample(batch.samples[group_a], samples) | (samples < 0).any(dim=1)[None]
        means = [rows[group_a].mean(dim=1) for rows in (student, teacher)]
        means += [rows[group_b].mean(dim=1) for rows in others]
        return self._losses.others(*means, same_sample=left_out, **self._options(_share(method, batch.generator)))

    def _options(self, share: float | Tensor) -> dict[str, Any]:
        options = {"comparison": self._method.comparison, "share": share}
        if self._method.divergence == "mse":
            return {**options, "variance": self.variance}
        return {**options, "temperature": self._method.temperature}


def _drawn_subsets(samples: int, size: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, samples, generator=generator, device=generator.device).topk(size, dim=1).indices


def _share(method: CKD, generator: torch.Generator, *shape: int) -> float | Tensor:
    """For interpolation Beta(1, 1), which is uniform: one a step where all are compared with all, else of a shape."""
    if method.comparison != "interpolation":
        return 0.5
    return torch.rand(shape, generator=generator, device=generator.device)
