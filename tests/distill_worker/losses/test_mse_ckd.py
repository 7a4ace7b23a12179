"""CKD by squared error against the loop over comparisons, in value and gradient."""

from collections.abc import Callable, Sequence
from itertools import permutations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distill_worker.losses import (
    draw_groups,
    mse_centroid_ckd_loss,
    mse_ckd_loss,
    mse_cross_ckd_loss,
    mse_drawn_ckd_loss,
    mse_loss,
)
from distill_worker.losses.comparisons import Comparison
from tests.distill_worker.losses.comparisons import value_and_gradient
from tests.distill_worker.losses.oracles import dot, mean, rows
from tests.distill_worker.losses.test_mse import centred

COMPARISONS: list[tuple[Comparison, float]] = [
    ("difference", 0.5),
    ("addition", 0.5),
    ("interpolation", 0.0),
    ("interpolation", 0.3),
    ("interpolation", 1.0),
]
every_comparison = pytest.mark.parametrize(("comparison", "share"), COMPARISONS)
VARIANCE = 2.5


def _compared(comparison: Comparison, share: float, first: Tensor, second: Tensor) -> Tensor:
    match comparison:
        case "addition":
            return (first + second) / 2
        case "interpolation":
            return share * first + (1 - share) * second
    return first - second


Pairs = Sequence[tuple[Tensor, Tensor]]
Loss = Callable[[Tensor], Tensor]


def _by_loop(student: Pairs, teacher: Pairs, comparison: Comparison, share: float) -> Tensor:
    """The mean over pairs of vectors (A, B) of squared errors, summed over the classes, by twice the variance."""
    each = list[Tensor]()
    for ours, theirs in zip(student, teacher, strict=True):
        s, z = (_compared(comparison, share, *map(centred, pair)) for pair in (ours, theirs))
        each.append(dot(s - z, s - z) / (2 * VARIANCE))
    return mean(each)


def _of_pairs(logits: Tensor, pairs: Sequence[tuple[int, int]]) -> Pairs:
    return [(logits[i], logits[j]) for i, j in pairs]


def _of_groups(logits: Tensor, groups: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Pairs:
    return [(_centroid(logits, group_a), _centroid(logits, group_b)) for group_a, group_b in groups]


def _centroid(logits: Tensor, group: Sequence[int]) -> Tensor:
    return torch.stack([logits[index] for index in group]).sum(0) / len(group)


def _assert_equal(loss: Tensor, expected: Tensor, student: Tensor) -> None:
    assert_close(value_and_gradient(loss, student), value_and_gradient(expected, student), rtol=1e-9, atol=1e-12)


def test_values_by_hand() -> None:
    """The residuals are (-1, 1) and 0, so that their difference has a squared length of 2."""
    student, teacher, groups = torch.tensor([[0.0, 2.0], [5.0, 5.0]]), torch.zeros(2, 2), torch.tensor([[0, 1]])
    assert float(mse_ckd_loss(student, teacher)) == 1
    assert float(mse_ckd_loss(student, teacher, comparison="addition")) == 1 / 4
    assert float(mse_centroid_ckd_loss(student, teacher, groups)) == 1
    assert float(mse_drawn_ckd_loss(student, teacher, groups)) == 1
    assert float(mse_cross_ckd_loss(student, teacher, teacher, teacher, variance=2.0)) == 1 / 4


@pytest.mark.parametrize("batch", [2, 5])
@every_comparison
def test_all_pairs_equal_the_loop(comparison: Comparison, share: float, batch: int) -> None:
    student, teacher = rows(batch, 4, seed=1).requires_grad_(), rows(batch, 4, seed=2)
    pairs = list(permutations(range(batch), 2))
    expected = _by_loop(_of_pairs(student, pairs), _of_pairs(teacher, pairs), comparison, share)
    loss = mse_ckd_loss(student, teacher, variance=VARIANCE, comparison=comparison, share=share)
    _assert_equal(loss, expected, student)


@pytest.mark.parametrize("k", [2, 3, 4, 5])
@every_comparison
def test_all_centroids_that_share_no_sample_equal_the_loop(comparison: Comparison, share: float, k: int) -> None:
    student, teacher = rows(7, 4, seed=1).requires_grad_(), rows(7, 4, seed=2)
    groups = draw_groups(7, k, 6, torch.Generator().manual_seed(0))
    half = -(-k // 2)
    pairs = [
        (first[:half], second[half:])
        for first in groups.tolist()
        for second in groups.tolist()
        if not set(first[:half]) & set(second[half:])
    ]
    assert 6 <= len(pairs) < 36, "some pairs share a sample, and a group's own never do"
    expected = _by_loop(_of_groups(student, pairs), _of_groups(teacher, pairs), comparison, share)
    loss = mse_centroid_ckd_loss(student, teacher, groups, variance=VARIANCE, comparison=comparison, share=share)
    _assert_equal(loss, expected, student)


@pytest.mark.parametrize("k", [2, 3, 4])
@every_comparison
def test_drawn_groups_equal_the_loop(comparison: Comparison, share: float, k: int) -> None:
    student, teacher = rows(7, 4, seed=1).requires_grad_(), rows(7, 4, seed=2)
    groups = draw_groups(7, k, 9, torch.Generator().manual_seed(0))
    half = -(-k // 2)
    pairs = [(group[:half], group[half:]) for group in groups.tolist()]
    expected = _by_loop(_of_groups(student, pairs), _of_groups(teacher, pairs), comparison, share)
    loss = mse_drawn_ckd_loss(student, teacher, groups, variance=VARIANCE, comparison=comparison, share=share)
    _assert_equal(loss, expected, student)


@every_comparison
def test_others_equal_the_loop(comparison: Comparison, share: float) -> None:
    """Past student outputs, without pairs of one sample."""
    student, teacher = rows(4, 5, seed=1).requires_grad_(), rows(4, 5, seed=2)
    others = rows(6, 5, seed=4), rows(6, 5, seed=3)
    same = torch.zeros(4, 6, dtype=torch.bool)
    same[1, 2] = same[3, 0] = True
    pairs = [(i, j) for i in range(4) for j in range(6) if not same[i, j]]
    ours, theirs = (
        [(own[i], other[j]) for i, j in pairs] for own, other in zip((student, teacher), others, strict=True)
    )
    loss = mse_cross_ckd_loss(
        student, teacher, *others, same_sample=same, variance=VARIANCE, comparison=comparison, share=share
    )
    _assert_equal(loss, _by_loop(ours, theirs, comparison, share), student)


def test_each_drawn_comparison_may_have_its_own_share() -> None:
    student, teacher = rows(6, 4, seed=1), rows(6, 4, seed=2)
    groups, shares = torch.tensor([[0, 1], [2, 3], [4, 5]]), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    each = [
        mse_drawn_ckd_loss(student, teacher, groups[index : index + 1], comparison="interpolation", share=float(share))
        for index, share in enumerate(shares)
    ]
    assert_close(mse_drawn_ckd_loss(student, teacher, groups, comparison="interpolation", share=shares), mean(each))


@pytest.mark.parametrize("shift", [1.0, 1e3])
def test_differences_are_blind_to_a_vector_shared_by_all_samples(shift: float) -> None:
    """To the last digits of float32, even where the vector is large; addition, and a memory, see it."""
    student, teacher = (rows(8, 5, seed=seed).float() for seed in (1, 2))
    shifted = student + shift * rows(1, 5, seed=3).float()
    groups = draw_groups(8, 3, 20, torch.Generator().manual_seed(0))
    past = rows(6, 5, seed=4).float(), rows(6, 5, seed=5).float()
    blind: list[Loss] = [
        lambda s: mse_ckd_loss(s, teacher),
        lambda s: mse_centroid_ckd_loss(s, teacher, groups),
        lambda s: mse_drawn_ckd_loss(s, teacher, groups),
    ]
    for loss in blind:
        assert_close(loss(shifted), loss(student), rtol=1e-6 * shift, atol=1e-6)
    seeing: list[Loss] = [
        lambda s: mse_ckd_loss(s, teacher, comparison="addition"),
        lambda s: mse_cross_ckd_loss(s, teacher, *past),
    ]
    for loss in seeing:
        assert not torch.isclose(loss(shifted), loss(student), rtol=0.01)


def test_loss_is_regression_less_the_mean_residual() -> None:
    """`B / (B - 1)` times logit regression, once each class's mean residual is taken from the student."""
    student, teacher = rows(8, 5, seed=1), rows(8, 5, seed=2)
    corrected = student - (student - teacher).mean(dim=0)
    assert_close(mse_ckd_loss(student, teacher), 8 / 7 * mse_loss(corrected, teacher))


def test_loss_is_zero_and_flat_at_agreement() -> None:
    teacher = rows(6, 5)
    student = (teacher + rows(6, 1, seed=1) + rows(1, 5, seed=2)).requires_grad_()
    value, gradient = value_and_gradient(mse_ckd_loss(student, teacher), student)
    assert float(value) == pytest.approx(0, abs=1e-12)
    assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)
    assert mse_ckd_loss(2 * teacher, teacher) > 1e-3


def test_nothing_to_compare_is_zero_with_no_slope() -> None:
    """A memory may be empty."""
    student, teacher = rows(3, 4, seed=1).requires_grad_(), rows(3, 4, seed=2)
    everything = torch.ones(3, 3, dtype=torch.bool)
    loss = mse_cross_ckd_loss(student, teacher, rows(3, 4, seed=3), teacher, same_sample=everything)
    value, gradient = value_and_gradient(loss, student)
    assert float(value) == 0
    assert not gradient.any()


def test_concatenation_is_refused_because_it_compares_nothing() -> None:
    groups = torch.tensor([[0, 1], [2, 3]])
    losses: list[Loss] = [
        lambda s: mse_ckd_loss(s, s, comparison="concatenation"),
        lambda s: mse_centroid_ckd_loss(s, s, groups, comparison="concatenation"),
        lambda s: mse_drawn_ckd_loss(s, s, groups, comparison="concatenation"),
        lambda s: mse_cross_ckd_loss(s, s, s, s, comparison="concatenation"),
    ]
    for loss in losses:
        with pytest.raises(ValueError, match=r"^comparison: expected difference, .*'concatenation'.* mse_loss"):
            loss(rows(4, 3))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"comparison": "ratio"}, "comparison"), ({"share": -0.1}, "share"), ({"variance": 0.0}, "variance")],
)
def test_bad_argument_is_refused_by_name(arguments: dict[str, object], name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, got"):
        mse_ckd_loss(rows(3, 4), rows(3, 4), **arguments)  # type: ignore[arg-type]
