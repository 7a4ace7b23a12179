"""CKD against its formula, comparison by comparison."""

from itertools import permutations
from math import ceil, log

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.testing import assert_close

from distill_worker.losses import ckd_loss, draw_groups, drawn_ckd_loss
from tests.distill_worker.losses.comparisons import ckd_by_loop, value_and_gradient


def _logits(batch: int = 5, classes: int = 4, scale: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = scale * torch.randn(2, batch, classes, generator=generator, dtype=torch.float64)
    return student.requires_grad_(), teacher


def _pairs(batch: int) -> list[tuple[int, ...]]:
    return list(permutations(range(batch), 2))


def _groups(batch: int, k: int, comparisons: int = 40, seed: int = 0) -> Tensor:
    return draw_groups(batch, k, comparisons, torch.Generator().manual_seed(seed))


def _agreeing(teacher: Tensor) -> Tensor:
    """A student that differs by one constant for each sample and one vector over the classes, shared by all samples."""
    batch, classes = teacher.shape
    return teacher + torch.randn(batch, 1, dtype=teacher.dtype) + torch.randn(1, classes, dtype=teacher.dtype)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_value_by_hand(temperature: float) -> None:
    """Two samples (T ln 3, 0) apart for the teacher and equal for the student: p = (3/4, 1/4) and back, q even."""
    teacher = torch.tensor([[temperature * log(3) + 7, 7.0], [-2.0, -2.0]], dtype=torch.float64)
    student = torch.tensor([[1.0, 5.0], [1.0, 5.0]], dtype=torch.float64)
    expected = temperature**2 * (log(2) + 0.75 * log(0.75) + 0.25 * log(0.25))
    assert float(ckd_loss(student, teacher, temperature=temperature)) == pytest.approx(expected, rel=1e-12)
    one_way = drawn_ckd_loss(student, teacher, torch.tensor([[0, 1]]), temperature=temperature)
    assert float(one_way) == pytest.approx(expected, rel=1e-12)


def test_drawn_value_by_hand_for_three_samples() -> None:
    """Group A is the mean of the first two: (ln 3, 0); group B is the third: (0, 0)."""
    teacher = torch.tensor([[2 * log(3), 1.0], [0.0, -1.0], [0.0, 0.0]], dtype=torch.float64)
    loss = drawn_ckd_loss(torch.zeros_like(teacher), teacher, torch.tensor([[0, 1, 2]]), temperature=1.0)
    assert float(loss) == pytest.approx(log(2) + 0.75 * log(0.75) + 0.25 * log(0.25), rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("batch", [2, 6])
def test_value_and_gradient_equal_the_loop_over_pairs(batch: int, temperature: float) -> None:
    student, teacher = _logits(batch)
    expected = value_and_gradient(ckd_by_loop(student, teacher, _pairs(batch), temperature), student)
    assert_close(value_and_gradient(ckd_loss(student, teacher, temperature=temperature), student), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("width", [30.0, 41.0, 42.0, 300.0, 330.0])
def test_logits_far_apart_still_equal_the_loop(width: float, dtype: torch.dtype) -> None:
    """Up to the documented width, also where a product of exponentials would leave float32 (2 * width near 83)."""
    student, teacher = _logits(6)
    student, teacher = (
        (width * (side - side.amin(1, keepdim=True)) / (side.amax(1, keepdim=True) - side.amin(1, keepdim=True)))
        .detach()
        .to(dtype)
        for side in (student, teacher)
    )
    given, exact = student.clone().requires_grad_(), student.double().requires_grad_()
    value, gradient = value_and_gradient(ckd_loss(given, teacher, temperature=1.0), given)
    expected = value_and_gradient(ckd_by_loop(exact, teacher.double(), _pairs(6), 1.0), exact)
    rtol, atol = (1e-9, 1e-12) if dtype == torch.float64 else (1e-4, 1e-5)
    assert_close((value.double(), gradient.double()), expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("wide", ["student", "teacher", "both"])
@pytest.mark.parametrize("scale", [2000.0, 1e20])
def test_logits_further_apart_than_documented_are_scaled_to_the_width(wide: str, scale: float) -> None:
    """The oracle scales each row by hand; its factor is no part of the gradient."""
    student, teacher = _logits()
    student = (student.detach() * (1 if wide == "teacher" else scale)).requires_grad_()
    teacher = teacher * (1 if wide == "student" else scale)
    scaled_student, scaled_teacher = (
        torch.stack([row * min(1.0, 2 * 330 / float(row.detach().max() - row.detach().min())) for row in side])
        for side in (student, teacher)
    )
    expected = value_and_gradient(ckd_by_loop(scaled_student, scaled_teacher, _pairs(5), 2.0), student)
    assert_close(value_and_gradient(ckd_loss(student, teacher, temperature=2.0), student), expected)
    assert expected[1].abs().sum() > 0


def test_many_pairs_far_apart_equal_the_two_class_formula() -> None:
    """Nine million pairs; for two classes the softmax is a sigmoid of one number."""
    batch = 3000
    generator = torch.Generator().manual_seed(0)
    student, teacher = 50 * torch.randn(2, batch, 2, generator=generator)
    gap_p, gap_q = ((side[:, 0] - side[:, 1])[:, None] - (side[:, 0] - side[:, 1]) for side in (teacher, student))
    rising = gap_p.sigmoid() * (logsigmoid(gap_p) - logsigmoid(gap_q))
    falling = (-gap_p).sigmoid() * (logsigmoid(-gap_p) - logsigmoid(-gap_q))
    expected = (rising + falling).sum(dtype=torch.float64) / (batch * (batch - 1))
    assert_close(ckd_loss(student, teacher, temperature=1.0).double(), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("k", [2, 3, 4, 5])
@pytest.mark.parametrize("scale", [1.0, 500.0])
def test_drawn_value_and_gradient_equal_the_loop(k: int, scale: float) -> None:
    """Group A is the first ceil(k / 2) of each row, group B the rest."""
    student, teacher = _logits(7, scale=scale)
    groups = _groups(7, k)
    expected = value_and_gradient(ckd_by_loop(student, teacher, groups.tolist(), 2.0), student)
    assert_close(value_and_gradient(drawn_ckd_loss(student, teacher, groups, temperature=2.0), student), expected)


def test_drawn_mean_over_all_ordered_pairs_is_the_all_pairs_loss() -> None:
    student, teacher = _logits(6, scale=3)
    groups = torch.tensor(_pairs(6))
    assert_close(drawn_ckd_loss(student, teacher, groups), ckd_loss(student, teacher))


@pytest.mark.parametrize("k", [None, 2, 3, 5])
def test_loss_is_zero_and_flat_at_agreement(k: int | None) -> None:
    """Agreement is up to a constant for each sample and one vector shared by all; a vector of its own costs."""
    _, teacher = _logits(6)

    def loss(logits: Tensor) -> Tensor:
        return ckd_loss(logits, teacher) if k is None else drawn_ckd_loss(logits, teacher, _groups(6, k))

    student = _agreeing(teacher).requires_grad_()
    value, gradient = value_and_gradient(loss(student), student)
    assert float(value) == pytest.approx(0, abs=1e-12)
    assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)
    student = teacher.clone()
    student[0, 0] += 1
    assert float(loss(student)) > 1e-3


def test_log_probabilities_give_the_same_value() -> None:
    student, teacher = _logits(scale=5)
    groups = _groups(5, 3)
    for loss in (ckd_loss, lambda s, z: drawn_ckd_loss(s, z, groups)):
        expected = loss(student, teacher)
        assert_close(loss(student, teacher.log_softmax(1)), expected)
        assert_close(loss(student.log_softmax(1), teacher), expected)


def test_no_gradient_reaches_the_teacher() -> None:
    for scale in (1.0, 3000.0):
        student, teacher = _logits(scale=scale)
        teacher.requires_grad_()
        (ckd_loss(student, teacher) + drawn_ckd_loss(student, teacher, _groups(5, 3))).backward()  # type: ignore[no-untyped-call]
        assert teacher.grad is None
        assert student.grad is not None


@pytest.mark.parametrize("k", [None, 2, 3])
def test_gradient_equals_finite_differences(k: int | None) -> None:
    student, teacher = _logits(4, 3)

    def loss(logits: Tensor) -> Tensor:
        return ckd_loss(logits, teacher) if k is None else drawn_ckd_loss(logits, teacher, _groups(4, k))

    assert torch.autograd.gradcheck(loss, student)


def test_gradient_equals_finite_differences_with_one_class_far_down() -> None:
    """Near the documented width, the other classes close enough to matter."""
    student, teacher = _logits(4, 3)
    far = torch.tensor([0.0, 0.0, -320.0], dtype=torch.float64)
    wide = (student.detach() + far).requires_grad_()
    assert torch.autograd.gradcheck(lambda logits: ckd_loss(logits, teacher + far, temperature=1.0), wide)


@pytest.mark.parametrize(
    ("student", "teacher", "temperature", "name"),
    [
        (torch.zeros(4), torch.zeros(4), 4.0, "student_logits"),
        (torch.zeros(1, 3), torch.zeros(1, 3), 4.0, "student_logits"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3), 4.0, "student_logits"),
        (torch.zeros(2, 3), torch.zeros(1, 3), 4.0, "teacher_logits"),
        (torch.zeros(2, 3), torch.zeros(2, 1), 4.0, "teacher_logits"),
        (torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.uint8), 4.0, "teacher_logits"),
        (torch.zeros(2, 3), torch.zeros(2, 3), 0.0, "temperature"),
        (torch.zeros(2, 3), torch.zeros(2, 3), -1.0, "temperature"),
        (torch.zeros(2, 3), torch.zeros(2, 3), float("nan"), "temperature"),
        (torch.zeros(2, 3), torch.zeros(2, 3), float("inf"), "temperature"),
    ],
)
def test_bad_argument_is_refused_by_name(student: Tensor, teacher: Tensor, temperature: float, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: expected"):
        ckd_loss(student, teacher, temperature=temperature)
    with pytest.raises(ValueError, match=rf"^{name}: expected"):
        drawn_ckd_loss(student, teacher, torch.tensor([[0, 1]]), temperature=temperature)


@pytest.mark.parametrize(
    "groups",
    [
        torch.tensor([0, 1]),
        torch.tensor([[0], [1]]),
        torch.tensor([[0.0, 1.0]]),
        torch.zeros(0, 2, dtype=torch.int64),
    ],
    ids=["flat", "k = 1", "float", "none"],
)
def test_bad_groups_are_refused_by_name(groups: Tensor) -> None:
    student, teacher = _logits()
    with pytest.raises(ValueError, match=r"^groups: expected"):
        drawn_ckd_loss(student, teacher, groups)


@pytest.mark.parametrize("drawn", [False, True])
def test_bfloat16_under_autocast_gives_what_float32_gives(drawn: bool) -> None:
    """Near agreement the loss is far below what bfloat16 can resolve, so it must not be computed in it."""
    student, teacher = (logits.detach().float() for logits in _logits(8))
    groups = _groups(8, 3, comparisons=200)

    def loss(logits: Tensor) -> Tensor:
        return drawn_ckd_loss(logits, teacher, groups) if drawn else ckd_loss(logits, teacher)

    for given in (teacher.bfloat16(), student.bfloat16()):
        expected = loss(given.float())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert_close(loss(given).float(), expected, rtol=1e-3, atol=2e-6)


@pytest.mark.parametrize("drawn", [False, True])
def test_training_under_autocast_gives_finite_values(drawn: bool) -> None:
    network = torch.nn.Linear(6, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        student, teacher = network(torch.randn(8, 6)), 100 * torch.randn(8, 4)
        loss = drawn_ckd_loss(student, teacher, _groups(8, 3)) if drawn else ckd_loss(student, teacher)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    assert network.weight.grad is not None
    assert network.weight.grad.isfinite().all()
    assert network.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("k", [2, 3, 4, 5, 6])
def test_drawn_indices_are_distinct_and_below_the_batch(k: int) -> None:
    groups = _groups(6, k, comparisons=200)
    assert groups.dtype == torch.int64
    assert groups.shape == (200, k)
    assert all(len(set(group)) == k and set(group) <= set(range(6)) for group in groups.tolist())


def test_drawing_is_reproducible_from_the_generator() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (draw_groups(9, 3, 50, generator) for _ in range(2))
    assert torch.equal(first, _groups(9, 3, 50))
    assert not torch.equal(first, second)


def test_every_ordered_choice_is_equally_likely() -> None:
    """24 ordered triples of 4; each of 24,000 draws is one of them, 1,000 +- 5 standard deviations times."""
    groups = _groups(4, 3, comparisons=24_000)
    counts = {tuple(group): 0 for group in permutations(range(4), 3)}
    for group in groups.tolist():
        counts[tuple(group)] += 1
    assert all(845 < count < 1155 for count in counts.values())


@pytest.mark.parametrize(
    ("batch", "k", "comparisons", "name"),
    [(4, 5, 10, "k"), (4, 1, 10, "k"), (4, 0, 10, "k"), (1, 2, 10, "k"), (4, 2, 0, "comparisons")],
)
def test_what_cannot_be_drawn_is_refused_by_name(batch: int, k: int, comparisons: int, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: expected"):
        draw_groups(batch, k, comparisons, torch.Generator())


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_group_a_is_the_larger_half(k: int) -> None:
    """Only samples of group A raise the first class, so the size of A is read off the teacher's compared vector."""
    size = ceil(k / 2)
    teacher = torch.zeros(k, 2, dtype=torch.float64)
    teacher[:size, 0] = log(3)
    loss = drawn_ckd_loss(torch.zeros_like(teacher), teacher, torch.arange(k)[None], temperature=1.0)
    assert float(loss) == pytest.approx(log(2) + 0.75 * log(0.75) + 0.25 * log(0.25), rel=1e-12)
