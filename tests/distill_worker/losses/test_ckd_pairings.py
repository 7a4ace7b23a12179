"""Every pairing with every comparison function, against the loop over comparisons in value and gradient."""

from collections.abc import Sequence
from itertools import combinations, permutations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from distill_worker.losses import (
    centroid_ckd_loss,
    ckd_loss,
    cross_ckd_loss,
    draw_groups,
    drawn_ckd_loss,
    share_a_sample,
)
from distill_worker.losses.comparisons import Comparison
from tests.distill_worker.losses.comparisons import divergence, value_and_gradient
from tests.distill_worker.losses.oracles import mean, rows

COMPARISONS: list[tuple[Comparison, float]] = [
    ("difference", 0.5),
    ("addition", 0.5),
    ("interpolation", 0.0),
    ("interpolation", 0.3),
    ("interpolation", 1.0),
    ("concatenation", 0.5),
]
every_comparison = pytest.mark.parametrize(("comparison", "share"), COMPARISONS)
every_width = pytest.mark.parametrize("scale", [1.0, 130.0])
"""The second leads up to the documented width: 330, at a temperature of 2 from logits 660 apart."""


def _compared(comparison: Comparison, share: float, first: Tensor, second: Tensor) -> Tensor:
    match comparison:
        case "difference":
            return first - second
        case "addition":
            return (first + second) / 2
        case "interpolation":
            return share * first + (1 - share) * second
        case "concatenation":
            return torch.cat([first - first.sum() / len(first), second - second.sum() / len(second)])


def _by_loop(
    student: Sequence[tuple[Tensor, Tensor]],
    teacher: Sequence[tuple[Tensor, Tensor]],
    comparison: Comparison,
    share: float,
    temperature: float,
) -> Tensor:
    """The mean of `T^2 KL` over pairs (A, B) of vectors."""
    return mean(
        [
            temperature**2
            * divergence(
                _compared(comparison, share, *theirs) / temperature, _compared(comparison, share, *ours) / temperature
            )
            for ours, theirs in zip(student, teacher, strict=True)
        ]
    )


def _centroid(logits: Tensor, group: Sequence[int]) -> Tensor:
    return torch.stack([logits[index] for index in group]).sum(0) / len(group)


def _assert_equal(loss: Tensor, expected: Tensor, student: Tensor) -> None:
    assert_close(value_and_gradient(loss, student), value_and_gradient(expected, student), rtol=1e-7, atol=1e-9)


@every_width
@every_comparison
def test_all_pairs_equal_the_loop(comparison: Comparison, share: float, scale: float) -> None:
    student, teacher = rows(5, 4, seed=1, scale=scale).requires_grad_(), rows(5, 4, seed=2, scale=scale)
    pairs = list(permutations(range(5), 2))
    expected = _by_loop(
        [(student[i], student[j]) for i, j in pairs],
        [(teacher[i], teacher[j]) for i, j in pairs],
        comparison,
        share,
        2.0,
    )
    _assert_equal(ckd_loss(student, teacher, temperature=2.0, comparison=comparison, share=share), expected, student)


@every_width
@pytest.mark.parametrize("k", [2, 3, 4, 5])
@every_comparison
def test_all_centroids_that_share_no_sample_equal_the_loop(
    comparison: Comparison, share: float, k: int, scale: float
) -> None:
    student, teacher = rows(7, 4, seed=1, scale=scale).requires_grad_(), rows(7, 4, seed=2, scale=scale)
    groups = draw_groups(7, k, 6, torch.Generator().manual_seed(0))
    half = -(-k // 2)
    pairs = [
        (first[:half], second[half:])
        for first in groups.tolist()
        for second in groups.tolist()
        if not set(first[:half]) & set(second[half:])
    ]
    assert 6 <= len(pairs) < 36, "some pairs share a sample, and a group's own never do"
    ours, theirs = ([(_centroid(side, a), _centroid(side, b)) for a, b in pairs] for side in (student, teacher))
    expected = _by_loop(ours, theirs, comparison, share, 2.0)
    loss = centroid_ckd_loss(student, teacher, groups, temperature=2.0, comparison=comparison, share=share)
    _assert_equal(loss, expected, student)


@pytest.mark.parametrize("scale", [1.0, 130.0, 3000.0])
@pytest.mark.parametrize("k", [2, 3, 4])
@every_comparison
def test_drawn_groups_equal_the_loop(comparison: Comparison, share: float, k: int, scale: float) -> None:
    student, teacher = rows(7, 4, seed=1, scale=scale).requires_grad_(), rows(7, 4, seed=2, scale=scale)
    groups = draw_groups(7, k, 9, torch.Generator().manual_seed(0))
    half = -(-k // 2)
    ours, theirs = (
        [(_centroid(side, group[:half]), _centroid(side, group[half:])) for group in groups.tolist()]
        for side in (student, teacher)
    )
    expected = _by_loop(ours, theirs, comparison, share, 2.0)
    loss = drawn_ckd_loss(student, teacher, groups, temperature=2.0, comparison=comparison, share=share)
    _assert_equal(loss, expected, student)


@every_width
@pytest.mark.parametrize("anchors", [False, True])
@every_comparison
def test_others_equal_the_loop(comparison: Comparison, share: float, anchors: bool, scale: float) -> None:
    """A memory of past student outputs, or the teacher's own as anchors; without pairs of one sample."""
    student, teacher = rows(4, 5, seed=1, scale=scale).requires_grad_(), rows(4, 5, seed=2, scale=scale)
    other_teacher = rows(6, 5, seed=3, scale=scale)
    other_student = other_teacher if anchors else rows(6, 5, seed=4, scale=scale)
    same = torch.zeros(4, 6, dtype=torch.bool)
    same[1, 2] = same[3, 0] = True
    pairs = [(i, j) for i in range(4) for j in range(6) if not same[i, j]]
    expected = _by_loop(
        [(student[i], other_student[j]) for i, j in pairs],
        [(teacher[i], other_teacher[j]) for i, j in pairs],
        comparison,
        share,
        2.0,
    )
    loss = cross_ckd_loss(
        student,
        teacher,
        other_student,
        other_teacher,
        same_sample=same,
        temperature=2.0,
        comparison=comparison,
        share=share,
    )
    _assert_equal(loss, expected, student)


@pytest.mark.parametrize("scale", [3000.0, 1e15])
@every_comparison
def test_logits_beyond_the_documented_width_give_a_finite_loss_and_gradient(
    comparison: Comparison, share: float, scale: float
) -> None:
    """Also where one side alone is that wide."""
    groups = draw_groups(7, 3, 6, torch.Generator().manual_seed(0))
    for ours_scale, theirs_scale in ((scale, 1.0), (1.0, scale), (scale, scale)):
        ours, theirs = rows(7, 4, seed=1, scale=ours_scale).requires_grad_(), rows(7, 4, seed=2, scale=theirs_scale)
        for loss in (
            ckd_loss(ours, theirs, comparison=comparison, share=share),
            centroid_ckd_loss(ours, theirs, groups, comparison=comparison, share=share),
            cross_ckd_loss(ours, theirs, theirs, theirs, comparison=comparison, share=share),
        ):
            value, gradient = value_and_gradient(loss, ours)
            assert value.isfinite()
            assert gradient.isfinite().all()


def test_others_are_all_compared_unless_told_otherwise() -> None:
    student, teacher, other = rows(3, 4, seed=1), rows(3, 4, seed=2), rows(5, 4, seed=3)
    none = torch.zeros(3, 5, dtype=torch.bool)
    assert_close(
        cross_ckd_loss(student, teacher, other, other), cross_ckd_loss(student, teacher, other, other, same_sample=none)
    )


def test_each_drawn_comparison_may_have_its_own_share() -> None:
    student, teacher = rows(6, 4, seed=1), rows(6, 4, seed=2)
    groups, shares = torch.tensor([[0, 1], [2, 3], [4, 5]]), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    each = [
        drawn_ckd_loss(student, teacher, groups[index : index + 1], comparison="interpolation", share=float(share))
        for index, share in enumerate(shares)
    ]
    assert_close(drawn_ckd_loss(student, teacher, groups, comparison="interpolation", share=shares), mean(each))


def test_pairs_are_the_centroids_of_groups_of_two() -> None:
    """All twenty ordered pairs as groups: each A meets each B but itself."""
    student, teacher = rows(5, 4, seed=1), rows(5, 4, seed=2)
    groups = torch.tensor([[i, (i + 1) % 5] for i in range(5)])
    assert_close(centroid_ckd_loss(student, teacher, groups), ckd_loss(student, teacher))


def test_centroids_of_every_choice_are_the_mean_over_disjoint_choices() -> None:
    """K = 3 of 4: every pair of samples as A against every single sample as B that is not in it."""
    student, teacher = rows(4, 3, seed=1), rows(4, 3, seed=2)
    groups = torch.tensor(
        [[*pair, other] for pair in combinations(range(4), 2) for other in range(4) if other not in pair]
    )
    assert_close(centroid_ckd_loss(student, teacher, groups), drawn_ckd_loss(student, teacher, groups))


def test_shared_samples_are_found() -> None:
    shared = share_a_sample(torch.tensor([[0, 1], [2, 3]]), torch.tensor([[1, 4], [5, 6], [3, 2]]))
    assert shared.tolist() == [[True, False, False], [False, False, True]]


def test_nothing_to_compare_is_zero_with_no_slope() -> None:
    """Every drawn B may share a sample with every A, and every memory be empty."""
    student, teacher = rows(3, 4, seed=1).requires_grad_(), rows(3, 4, seed=2)
    everything = torch.ones(3, 3, dtype=torch.bool)
    comparisons: tuple[Comparison, ...] = ("difference", "concatenation")
    for comparison in comparisons:
        loss = cross_ckd_loss(student, teacher, teacher, teacher, same_sample=everything, comparison=comparison)
        value, gradient = value_and_gradient(loss, student)
        assert float(value) == 0
        assert not gradient.any()


@pytest.mark.parametrize("dtypes", [(torch.float32, torch.float64), (torch.float64, torch.float32)])
@every_comparison
def test_student_and_teacher_may_differ_in_dtype(
    comparison: Comparison, share: float, dtypes: tuple[torch.dtype, torch.dtype]
) -> None:
    student, teacher = rows(5, 4, seed=1), rows(5, 4, seed=2)
    mixed = ckd_loss(student.to(dtypes[0]), teacher.to(dtypes[1]), comparison=comparison, share=share)
    assert_close(mixed.double(), ckd_loss(student, teacher, comparison=comparison, share=share), rtol=1e-5, atol=1e-6)


class _Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the size of the largest tensor that is made."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.elements = max(self.elements, result.numel())
        return result


def test_all_pairs_of_a_large_batch_never_hold_a_vector_a_pair() -> None:
    """B^2 values, not B^2 C: 512 samples of 100 classes would be 26 million."""
    student, teacher = rows(512, 100, seed=1).float().requires_grad_(), rows(512, 100, seed=2).float()
    with _Largest() as seen:  # type: ignore[no-untyped-call]
        ckd_loss(student, teacher).backward()  # type: ignore[no-untyped-call]
    assert 512 * 100 <= seen.elements <= 512 * 512


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"comparison": "ratio"}, "comparison"),
        ({"share": -0.1}, "share"),
        ({"share": 1.1}, "share"),
        ({"temperature": 0.0}, "temperature"),
        ({"same_sample": torch.zeros(3, 4)}, "same_sample"),
        ({"same_sample": torch.zeros(4, 3, dtype=torch.bool)}, "same_sample"),
    ],
)
def test_bad_argument_is_refused_by_name(arguments: dict[str, object], name: str) -> None:
    student, other = rows(3, 4), rows(4, 4)
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, got"):
        cross_ckd_loss(student, student, other, other, **arguments)  # type: ignore[arg-type]


def test_bad_others_and_shares_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^other_student_logits: expected 4 classes, got 5"):
        cross_ckd_loss(rows(3, 4), rows(3, 4), rows(3, 5), rows(3, 5))
    with pytest.raises(ValueError, match=r"^share: expected one number, or one for each of 2, got"):
        drawn_ckd_loss(rows(3, 4), rows(3, 4), torch.tensor([[0, 1], [1, 2]]), share=torch.ones(3))
    with pytest.raises(ValueError, match=r"^groups: expected int64"):
        centroid_ckd_loss(rows(3, 4), rows(3, 4), torch.tensor([[0.0, 1.0]]))
