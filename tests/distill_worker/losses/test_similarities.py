"""SP, CC and PKT against the papers' formulas, pair by pair."""

from collections.abc import Callable
from math import exp, factorial, log

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distill_worker.losses import cc_loss, pkt_loss, sp_loss
from tests.distill_worker.losses.comparisons import value_and_gradient
from tests.distill_worker.losses.oracles import dot, mean, rows

Loss = Callable[..., Tensor]
every_loss = pytest.mark.parametrize("loss", [sp_loss, cc_loss, pkt_loss])


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    return dot(first, second) / (dot(first, first) * dot(second, second)).sqrt()


def _sp_by_loop(student: Tensor, teacher: Tensor) -> Tensor:
    """Tung and Mori 2019, equations (2) and (3) (G, with rows of length 1) and (4) (the squared difference / b^2)."""

    def similarities(side: Tensor) -> list[Tensor]:
        each = []
        for own in side:
            products = [dot(own, other) for other in side]
            length = torch.stack([product**2 for product in products]).sum().sqrt()
            each += [product / length for product in products]
        return each

    return mean([(t - s) ** 2 for s, t in zip(similarities(student), similarities(teacher), strict=True)])


def _cc_by_loop(student: Tensor, teacher: Tensor, gamma: float = 0.4, order: int = 2) -> Tensor:
    """Peng et al. 2019, equation (7) (mean squared difference of correlations), expanded as in equation (12)."""

    def kernel(first: Tensor, second: Tensor) -> Tensor:
        terms = [(2 * gamma) ** p / factorial(p) * _cosine(first, second) ** p for p in range(order + 1)]
        return exp(-2 * gamma) * torch.stack(terms).sum()

    pairs = [(i, j) for i in range(len(student)) for j in range(len(student))]
    return mean([(kernel(student[i], student[j]) - kernel(teacher[i], teacher[j])) ** 2 for i, j in pairs])


def _pkt_by_loop(student: Tensor, teacher: Tensor) -> Tensor:
    """Passalis and Tefas 2018, equations (3), (4) (conditional probabilities), (6) (cosine kernel), (7) (divergence).

    With the mean over pairs and the constant 1e-7 of their code.
    """
    values = []
    for i in range(len(student)):
        ours, theirs = ([(_cosine(side[i], other) + 1) / 2 for other in side] for side in (student, teacher))
        q, p = ([value / torch.stack(side).sum() for value in side] for side in (ours, theirs))
        values += [t * ((t + 1e-7) / (s + 1e-7)).log() for s, t in zip(q, p, strict=True)]
    return mean(values)


def test_sp_by_hand() -> None:
    """The teacher's two samples are at right angles, the student's equal: rows (1, 0) against (1, 1) / sqrt 2."""
    teacher = torch.eye(2, dtype=torch.float64)
    student = torch.ones(2, 2, dtype=torch.float64)
    expected = ((1 - 2**-0.5) ** 2 + (2**-0.5) ** 2) / 2
    assert float(sp_loss(student, teacher)) == pytest.approx(expected)


def test_cc_by_hand() -> None:
    """Cosine 0 against 1 off the diagonal: the kernel differs by exp(-1) (1 + 1/2) with 2 gamma = 1 and order 2."""
    teacher = torch.eye(2, dtype=torch.float64)
    student = torch.ones(2, 2, dtype=torch.float64)
    assert float(cc_loss(student, teacher, gamma=0.5, order=2)) == pytest.approx((exp(-1) * 1.5) ** 2 / 2)


def test_cc_approaches_the_gaussian_kernel_as_the_order_grows() -> None:
    """exp(-gamma |x - y|^2) of rows of length 1, whose squared distance is 2 - 2 x.y."""
    student, teacher = rows(4, 3, seed=1), rows(4, 3, seed=2)

    def gaussian(side: Tensor) -> Tensor:
        side = side / side.norm(dim=1, keepdim=True)
        return (-0.4 * torch.cdist(side, side) ** 2).exp()

    expected = (gaussian(student) - gaussian(teacher)).square().mean()
    errors = [float((cc_loss(student, teacher, order=order) - expected).abs()) for order in (1, 2, 4, 12)]
    assert errors[0] > 1e-4
    assert errors[-1] < 1e-9


def test_pkt_by_hand() -> None:
    """Right angles give similarities (1, 1/2), so (2/3, 1/3); equal samples give (1/2, 1/2)."""
    teacher = torch.eye(2, dtype=torch.float64)
    student = torch.ones(2, 2, dtype=torch.float64)
    expected = (2 / 3 * log(4 / 3) + 1 / 3 * log(2 / 3)) / 2
    assert float(pkt_loss(student, teacher)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("loss", "oracle"), [(sp_loss, _sp_by_loop), (cc_loss, _cc_by_loop), (pkt_loss, _pkt_by_loop)])
@pytest.mark.parametrize("dims", [4, 7])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_value_and_gradient_equal_the_loop(loss: Loss, oracle: Loss, scale: float, dims: int) -> None:
    """The teacher's rows may be of another width."""
    student, teacher = rows(5, 4, seed=1, scale=scale).requires_grad_(), rows(5, dims, seed=2, scale=scale)
    expected = value_and_gradient(oracle(student, teacher), student)
    assert_close(value_and_gradient(loss(student, teacher), student), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("gamma", "order"), [(0.1, 1), (2.0, 3)])
def test_cc_parameters_are_those_of_the_loop(gamma: float, order: int) -> None:
    student, teacher = rows(5, 4, seed=1), rows(5, 4, seed=2)
    assert_close(cc_loss(student, teacher, gamma=gamma, order=order), _cc_by_loop(student, teacher, gamma, order))


@every_loss
def test_loss_is_zero_and_flat_at_agreement(loss: Loss) -> None:
    """Up to a turn and a scale of the whole batch."""
    teacher = rows(5, 4)
    turn = torch.linalg.qr(rows(4, 4, seed=3)).Q
    student = (3 * teacher @ turn).requires_grad_()
    value, gradient = value_and_gradient(loss(student, teacher), student)
    assert float(value) == pytest.approx(0, abs=1e-12)
    assert_close(gradient, torch.zeros_like(gradient), atol=1e-7, rtol=0)
    assert loss(rows(5, 4, seed=9), teacher) > 1e-4


@every_loss
def test_untrained_student_of_equal_rows_has_a_finite_gradient(loss: Loss) -> None:
    student = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    value, gradient = value_and_gradient(loss(student, rows(4, 3)), student)
    assert value.isfinite()
    assert gradient.isfinite().all()


@every_loss
@pytest.mark.parametrize(
    ("student", "teacher", "name"),
    [
        (torch.zeros(1, 3), torch.zeros(1, 3), "student_logits"),
        (torch.zeros(4, 3, 1), torch.zeros(4, 3), "student_logits"),
        (torch.zeros(4, 3), torch.zeros(3, 3), "teacher_logits"),
    ],
)
def test_bad_shape_is_refused_by_name(loss: Loss, student: Tensor, teacher: Tensor, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, got"):
        loss(student, teacher)


@pytest.mark.parametrize(("arguments", "name"), [((0.0, 2), "gamma"), ((0.4, 0), "order")])
def test_bad_argument_of_cc_is_refused_by_name(arguments: tuple[float, int], name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: expected"):
        cc_loss(rows(4, 3), rows(4, 3), gamma=arguments[0], order=arguments[1])
