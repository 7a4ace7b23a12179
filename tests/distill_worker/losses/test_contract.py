"""What every loss promises alike: whose gradient, which precision, and that it can be compiled."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distill_worker import losses
from tests.distill_worker.losses.comparisons import value_and_gradient

BATCH, CLASSES = 6, 4
Loss = Callable[[Tensor, Tensor], Tensor]
LABELS = torch.tensor([0, 3, 1, 2, 2, 0])
GROUPS = losses.draw_groups(BATCH, 3, 7, torch.Generator().manual_seed(0))
CONTRAST = torch.cat([torch.arange(BATCH)[:, None], torch.tensor([[3, 1, 9, 4]] * BATCH)], dim=1)


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@dataclass(frozen=True)
class Case:
    """A loss of two tensors, and what shape they have."""

    loss: Loss
    shape: tuple[int, ...] = (BATCH, CLASSES)
    teacher_learns: bool = False
    """Whether gradient reaches the second argument too, on purpose."""


def _crd(student: Tensor, teacher: Tensor) -> Tensor:
    memory, other = (
        torch.nn.functional.normalize(_random(10, CLASSES, seed=seed)).to(student.dtype) for seed in (8, 9)
    )
    if student.ndim == teacher.ndim == 2 and teacher.is_floating_point():
        student, teacher = (torch.nn.functional.normalize(rows) for rows in (student, teacher))
    return losses.crd_loss(
        student, teacher, memory, other, CONTRAST, student_normaliser=20.0, teacher_normaliser=30.0, temperature=0.5
    )


CASES = {
    "kd": Case(losses.kd_loss),
    "dkd": Case(lambda s, z: losses.dkd_loss(s, z, LABELS)),
    "lskd": Case(losses.lskd_loss),
    "dist": Case(losses.dist_loss),
    "ttm": Case(losses.ttm_loss),
    "wttm": Case(losses.wttm_loss),
    "ckd": Case(losses.ckd_loss),
    "ckd_concatenation": Case(lambda s, z: losses.ckd_loss(s, z, comparison="concatenation")),
    "ckd_interpolation": Case(lambda s, z: losses.ckd_loss(s, z, comparison="interpolation", share=0.3)),
    "centroid_ckd": Case(lambda s, z: losses.centroid_ckd_loss(s, z, GROUPS)),
    "drawn_ckd": Case(lambda s, z: losses.drawn_ckd_loss(s, z, GROUPS)),
    "cross_ckd": Case(lambda s, z: losses.cross_ckd_loss(s, z, z.detach().flip(0) + 1, z.flip(0))),
    "rkd": Case(losses.rkd_loss),
    "sp": Case(losses.sp_loss),
    "cc": Case(losses.cc_loss),
    "pkt": Case(losses.pkt_loss),
    "crd": Case(_crd, teacher_learns=True),
    "fitnet": Case(losses.fitnet_loss, (BATCH, 2, 3, 3)),
    "at": Case(losses.at_loss, (BATCH, 2, 3, 3)),
    "vid": Case(lambda s, z: losses.vid_loss(s, z, torch.tensor([0.5, 2.0], dtype=s.dtype)), (BATCH, 2, 3, 3)),
    "pseudo_label": Case(lambda s, z: losses.pseudo_label_loss(s, z, threshold=0.4)),
}
every_loss = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def _given(case: Case, *, student_seed: int = 1) -> tuple[Tensor, Tensor]:
    return _random(*case.shape, seed=student_seed).requires_grad_(), _random(*case.shape, seed=2)


def test_every_loss_has_a_case() -> None:
    tested = {name if name.endswith("ckd") else name.split("_c")[0] for name in CASES}
    assert {name.removesuffix("_loss") for name in losses.__all__ if name.endswith("_loss")} <= tested | {
        "pseudo_label"
    }


@every_loss
def test_value_is_a_finite_scalar_in_the_dtype_given(case: Case) -> None:
    student, teacher = _given(case)
    assert case.loss(student, teacher).dtype == torch.float64
    value = case.loss(student.float(), teacher.float())
    assert (value.shape, value.dtype) == ((), torch.float32)
    assert_close(value.double(), case.loss(student, teacher), rtol=1e-4, atol=1e-5)


@every_loss
def test_no_gradient_reaches_the_teacher(case: Case) -> None:
    student, teacher = _given(case)
    teacher.requires_grad_()
    case.loss(student, teacher).backward()  # type: ignore[no-untyped-call]
    assert (teacher.grad is not None) == case.teacher_learns
    assert student.grad is not None
    assert student.grad.abs().sum() > 0


@every_loss
def test_gradient_equals_finite_differences(case: Case) -> None:
    student, teacher = _given(case)
    assert torch.autograd.gradcheck(lambda rows: case.loss(rows, teacher), student)


@every_loss
def test_bfloat16_under_autocast_gives_what_float32_gives(case: Case) -> None:
    """Half-precision inputs are computed in float32, whatever autocast would do to a product."""
    student, teacher = (side.detach().float() for side in _given(case))
    rounded = student.bfloat16()
    expected = case.loss(rounded.float(), teacher)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(case.loss(rounded, teacher).float(), expected, rtol=1e-3, atol=1e-5)


@every_loss
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_compiled_loss_is_the_loss(case: Case) -> None:
    """In value and gradient; the default compiler may not be there, so the graph alone is taken."""
    student, teacher = _given(case)
    compiled = torch.compile(case.loss, backend="aot_eager")
    assert_close(
        value_and_gradient(compiled(student, teacher), student),
        value_and_gradient(case.loss(student, teacher), student),
    )


@pytest.mark.parametrize("name", ["kd", "dkd", "lskd", "dist", "ttm", "wttm", "ckd", "ckd_concatenation", "cross_ckd"])
def test_log_probabilities_are_as_good_as_logits(name: str) -> None:
    """On either side: an API that sells probabilities is enough, if it gives enough digits."""
    loss = CASES[name].loss
    student, teacher = _given(CASES[name])
    expected = loss(student, teacher)
    assert_close(loss(student.log_softmax(1), teacher), expected)
    assert_close(loss(student, teacher.log_softmax(1)), expected)


@pytest.mark.parametrize("name", ["rkd", "sp", "cc", "pkt"])
def test_relations_of_log_probabilities_are_others(name: str) -> None:
    """What the docstrings warn of."""
    student, teacher = _given(CASES[name])
    shift = torch.arange(BATCH, dtype=torch.float64)[:, None]
    assert not torch.isclose(CASES[name].loss(student, teacher + shift), CASES[name].loss(student, teacher), rtol=1e-3)


@every_loss
@pytest.mark.parametrize("spoil", ["flat", "integer", "batch"])
def test_bad_shape_is_refused_by_name(case: Case, spoil: str) -> None:
    student, teacher = (side.detach() for side in _given(case))
    bad = {"flat": teacher.flatten(), "integer": teacher.long(), "batch": teacher[:-1]}[spoil]
    with pytest.raises(ValueError, match=r"^(teacher|view|student|other)_\w+: expected .*, got "):
        case.loss(student, bad)
