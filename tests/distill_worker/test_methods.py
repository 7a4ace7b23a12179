"""Which terms a method minimises, and with which weights."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distill_worker.config import CE, CKD, KD, Method
from distill_worker.losses import ckd_loss, draw_groups, drawn_ckd_loss, kd_loss
from distill_worker.methods import objective

STUDENT, TEACHER = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def _terms(method: Method, *, seed: int = 0, teacher: Tensor | None = TEACHER) -> dict[str, Tensor]:
    return objective(method)(STUDENT, teacher, LABELS, torch.Generator().manual_seed(seed))


def _cross_entropy() -> Tensor:
    """Mean of -log softmax at the label, by hand."""
    return -torch.stack([row[label] - row.exp().sum().log() for row, label in zip(STUDENT, LABELS, strict=True)]).mean()


def test_ce_is_cross_entropy_and_needs_no_teacher() -> None:
    assert_close(_terms(CE(), teacher=None), {"label": _cross_entropy()})


def test_kd_terms_carry_their_weights() -> None:
    method = KD(temperature=2, label_weight=0.25, weight=3)
    expected = {"label": 0.25 * _cross_entropy(), "kd": 3 * kd_loss(STUDENT, TEACHER, temperature=2)}
    assert_close(_terms(method), expected)


def test_ckd_terms_carry_their_weights() -> None:
    method = CKD(temperature=2, label_weight=0.25, beta=3)
    expected = {"label": 0.25 * _cross_entropy(), "ckd": 3 * ckd_loss(STUDENT, TEACHER, temperature=2)}
    assert_close(_terms(method), expected)


def test_drawn_ckd_compares_the_groups_of_its_generator() -> None:
    method = CKD(temperature=2, pairing="drawn", k=3, comparisons=7)
    groups = draw_groups(6, 3, 7, torch.Generator().manual_seed(5))
    assert_close(_terms(method, seed=5)["ckd"], drawn_ckd_loss(STUDENT, TEACHER, groups, temperature=2))
    assert _terms(method, seed=5)["ckd"] != _terms(method, seed=6)["ckd"]


@pytest.mark.parametrize("method", [KD(), CKD(), CKD(pairing="drawn", k=3)])
def test_teacher_outputs_are_required(method: Method) -> None:
    with pytest.raises(ValueError, match="teacher outputs"):
        _terms(method, teacher=None)
