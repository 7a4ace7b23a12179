"""Log-probabilities instead of the teacher's logits: equal losses and equal gradients, by the algebra of softmax.

`softmax(z + c) = softmax(z)` for a number c of each sample, and a mean or a difference of samples that each have a c of
their own has one as well. The shifts here are those of the log-softmax, and larger ones.
"""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distill_worker import losses
from distill_worker.losses.comparisons import Comparison
from distill_worker.methods.terms.mixtures import draw_mixup
from tests.distill_worker.losses.cases import CASES, Loss
from tests.distill_worker.losses.comparisons import value_and_gradient

BATCH, CLASSES = 9, 6
COMPARISONS: tuple[Comparison, ...] = ("difference", "addition", "interpolation", "concatenation")


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _groups(k: int) -> Tensor:
    return losses.draw_groups(BATCH, k, 20, _generator(k))


def _ckd(comparison: Comparison, k: int, pairing: str) -> Loss:
    options = {"comparison": comparison, "share": 0.3}
    if pairing == "drawn":
        return lambda s, z: losses.drawn_ckd_loss(s, z, _groups(k), **options)  # type: ignore[arg-type]
    if pairing == "anchors":
        return lambda s, z: losses.cross_ckd_loss(s, z, z.flip(0), z.flip(0), **options)  # type: ignore[arg-type]
    if pairing == "memory":
        past = torch.randn(BATCH, CLASSES, generator=_generator(7), dtype=torch.float64)
        return lambda s, z: losses.cross_ckd_loss(s, z, past, z.flip(0), **options)  # type: ignore[arg-type]
    if k == 2:
        return lambda s, z: losses.ckd_loss(s, z, **options)  # type: ignore[arg-type]
    return lambda s, z: losses.centroid_ckd_loss(s, z, _groups(k), **options)  # type: ignore[arg-type]


def _by_squared_error(comparison: Comparison) -> Loss:
    return lambda s, z: losses.mse_ckd_loss(s, z, comparison=comparison, share=0.3)


LOSSES: dict[str, Loss] = {
    **{str(case): case for case in CASES if case.takes_log_probabilities},
    "kd, T = 1": lambda s, z: losses.kd_loss(s, z, temperature=1),
    "rkd of log-probabilities": lambda s, z: losses.rkd_loss(s.log_softmax(1), z.log_softmax(1)),
    **{
        f"ckd, {comparison}, k = {k}, {pairing}": _ckd(comparison, k, pairing)
        for comparison in COMPARISONS
        for k in (2, 3, 4)
        for pairing in ("all", "drawn")
    },
    **{
        f"ckd by squared error, {comparison}": _by_squared_error(comparison)
        for comparison in COMPARISONS
        if comparison != "concatenation"
    },
    **{
        f"ckd, {comparison}, {pairing}": _ckd(comparison, 2, pairing)
        for comparison in COMPARISONS
        for pairing in ("anchors", "memory")
    },
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_value_and_gradient_are_those_of_logits(loss: Loss) -> None:
    student = 3 * torch.randn(BATCH, CLASSES, generator=_generator(1), dtype=torch.float64)
    teacher = 5 * torch.randn(BATCH, CLASSES, generator=_generator(2), dtype=torch.float64)
    student.requires_grad_()
    expected = value_and_gradient(loss(student, teacher), student)
    assert expected[0] > 0.01
    shift = 40 * torch.randn(BATCH, 1, generator=_generator(3), dtype=torch.float64)
    for shifted in (teacher.log_softmax(1), teacher + shift):
        assert_close(value_and_gradient(loss(student, shifted), student), expected, rtol=1e-6, atol=1e-6)


def test_mixture_of_log_probabilities_is_that_of_logits() -> None:
    """What is mixed is the softmax: by hand, the log of the mean of the probabilities."""
    teacher = 5 * torch.randn(BATCH, CLASSES, generator=_generator(2), dtype=torch.float64)
    mixture = draw_mixup(BATCH, parts=3, generator=_generator(4))
    mixed = mixture.log_probabilities(teacher)
    assert_close(mixture.log_probabilities(teacher.log_softmax(1)), mixed, rtol=1e-6, atol=1e-6)
    shares, members = mixture.shares[5].double(), mixture.members[5]
    by_hand = sum(share * teacher[member].softmax(0) for share, member in zip(shares, members, strict=True))
    assert_close(mixed[5].exp(), by_hand, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("loss", [case for case in CASES if case.sees_shifts], ids=str)
def test_relations_of_logits_are_others_than_those_of_log_probabilities(loss: Loss) -> None:
    """Why these methods reject them."""
    student = 3 * torch.randn(BATCH, CLASSES, generator=_generator(1), dtype=torch.float64)
    teacher = 5 * torch.randn(BATCH, CLASSES, generator=_generator(2), dtype=torch.float64)
    expected = loss(student, teacher)
    assert (loss(student, teacher.log_softmax(1)) - expected).abs() > 1e-3 * expected.abs()
