"""FitNet, AT and VID against the papers' formulas, value by value."""

from collections.abc import Callable
from math import exp, log

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distill_worker.losses import at_loss, fitnet_loss, vid_loss
from tests.distill_worker.losses.comparisons import value_and_gradient
from tests.distill_worker.losses.oracles import mean, rows

ALPHA = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)


def _fitnet_by_loop(student: Tensor, teacher: Tensor) -> Tensor:
    """Romero et al. 2015, equation (3), with the mean over values for half the sum."""
    return mean([(s - t) ** 2 for s, t in zip(student.flatten(), teacher.flatten(), strict=True)])


def _at_by_loop(student: Tensor, teacher: Tensor, power: int = 2) -> Tensor:
    """Zagoruyko and Komodakis 2017, equation (2), with the mean over places for half the norm."""

    def attention(maps: Tensor) -> list[Tensor]:
        places = [(y, x) for y in range(maps.shape[1]) for x in range(maps.shape[2])]
        strengths = [mean([channel[y, x].abs() ** power for channel in maps]) for y, x in places]
        length = torch.stack([strength**2 for strength in strengths]).sum().sqrt()
        return [strength / length for strength in strengths]

    pairs = [
        (s, t)
        for ours, theirs in zip(student, teacher, strict=True)
        for s, t in zip(attention(ours), attention(theirs), strict=True)
    ]
    return mean([(s - t) ** 2 for s, t in pairs])


def _vid_by_loop(student: Tensor, teacher: Tensor, alpha: Tensor = ALPHA) -> Tensor:
    """Ahn et al. 2019, equation (5): log sigma_c + (t - mu)^2 / (2 sigma_c^2), sigma_c^2 = log(1 + e^alpha) + 1e-5."""
    values = []
    for ours, theirs in zip(student, teacher, strict=True):
        for channel, a in enumerate(alpha):
            variance = (1 + a.exp()).log() + 1e-5
            for s, t in zip(ours[channel].flatten(), theirs[channel].flatten(), strict=True):
                values.append(variance.sqrt().log() + (t - s) ** 2 / (2 * variance))
    return mean(values)


def test_fitnet_by_hand() -> None:
    student, teacher = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 5.0], [1.0, 0.0]])
    assert float(fitnet_loss(student, teacher)) == (9 + 1) / 4


def test_at_by_hand() -> None:
    """Strong at one of two places against both: (1, 0) and (1, 1) / sqrt 2. A sign does not matter."""
    student = torch.tensor([[[[-3.0, 0.0]]]], dtype=torch.float64)
    teacher = torch.tensor([[[[2.0, -2.0]], [[1.0, 1.0]]]], dtype=torch.float64)
    assert float(at_loss(student, teacher)) == pytest.approx(((1 - 2**-0.5) ** 2 + 0.5) / 2)


def test_vid_by_hand() -> None:
    """One channel whose variance is ln(1 + e) + 1e-5; the teacher is 2 off."""
    variance = log(1 + exp(1)) + 1e-5
    value = vid_loss(torch.zeros(1, 1).double(), torch.full((1, 1), 2.0).double(), torch.ones(1).double())
    assert float(value) == pytest.approx(log(variance) / 2 + 4 / (2 * variance))


@pytest.mark.parametrize(
    ("loss", "oracle"),
    [
        (fitnet_loss, _fitnet_by_loop),
        (at_loss, _at_by_loop),
        (lambda s, t: at_loss(s, t, power=3), lambda s, t: _at_by_loop(s, t, 3)),
        (lambda s, t: vid_loss(s, t, ALPHA), _vid_by_loop),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_value_and_gradient_equal_the_loop(
    loss: Callable[..., Tensor], oracle: Callable[..., Tensor], scale: float
) -> None:
    student, teacher = rows(2, 3, 2, 3, seed=1, scale=scale).requires_grad_(), rows(2, 3, 2, 3, seed=2, scale=scale)
    expected = value_and_gradient(oracle(student, teacher), student)
    assert_close(value_and_gradient(loss(student, teacher), student), expected, rtol=1e-6, atol=1e-9)


def test_vid_gradient_in_alpha_equals_the_loop() -> None:
    """The variances are learned, or the method is not the paper's."""
    student, teacher, alpha = rows(2, 3, 4, seed=1), rows(2, 3, 4, seed=2), ALPHA.clone().requires_grad_()
    expected = value_and_gradient(_vid_by_loop(student, teacher, alpha), alpha)
    assert_close(value_and_gradient(vid_loss(student, teacher, alpha), alpha), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("loss", [fitnet_loss, at_loss, lambda s, t: vid_loss(s, t, ALPHA)])
def test_loss_is_least_and_flat_at_agreement(loss: Callable[..., Tensor]) -> None:
    teacher = rows(2, 3, 2, 3)
    student = teacher.clone().requires_grad_()
    value, gradient = value_and_gradient(loss(student, teacher), student)
    assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)
    assert loss(student + rows(2, 3, 2, 3, seed=5), teacher) > value + 1e-4


def test_attention_sees_no_scale_and_no_number_of_channels() -> None:
    teacher = rows(2, 3, 2, 3)
    assert float(at_loss(torch.cat([5 * teacher, 5 * teacher], dim=1), teacher)) == pytest.approx(0, abs=1e-12)


def test_attention_of_the_larger_map_is_averaged_down() -> None:
    student, teacher = rows(2, 3, 4, 6, seed=1), rows(2, 5, 2, 3, seed=2)
    blocks = student.reshape(2, 3, 2, 2, 3, 2).mean(dim=(3, 5))
    assert_close(at_loss(student, teacher), _at_by_loop(blocks, teacher))
    assert_close(at_loss(teacher, student), _at_by_loop(teacher, blocks))


def test_map_of_nothing_has_a_finite_gradient() -> None:
    """A ReLU may kill a whole map."""
    student = torch.zeros(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    value, gradient = value_and_gradient(at_loss(student, rows(2, 3, 2, 3)), student)
    assert value.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("student", "teacher", "alpha", "name"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 4), ALPHA, "teacher_features"),
        (torch.zeros(3), torch.zeros(3), ALPHA, "student"),
        (torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2), "alpha"),
        (torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64), "alpha"),
    ],
)
def test_bad_shape_is_refused_by_name(student: Tensor, teacher: Tensor, alpha: Tensor, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}\w*: expected .*, got"):
        vid_loss(student, teacher, alpha)
    if name != "alpha":
        with pytest.raises(ValueError, match=rf"^{name}\w*: expected .*, got"):
            fitnet_loss(student, teacher)


def test_bad_arguments_are_refused_by_name() -> None:
    maps = rows(2, 3, 2, 3)
    with pytest.raises(ValueError, match=r"^power: expected"):
        at_loss(maps, maps, power=0)
    with pytest.raises(ValueError, match=r"^teacher_features: expected"):
        at_loss(maps, maps[:1])
    with pytest.raises(ValueError, match=r"^minimum_variance: expected"):
        vid_loss(maps, maps, ALPHA, minimum_variance=0.0)
