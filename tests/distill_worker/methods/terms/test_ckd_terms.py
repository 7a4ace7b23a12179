"""Which comparisons a step of CKD makes, against the loop over comparisons."""

from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distill_worker.losses import (
    ckd_loss,
    comparisons,
    draw_groups,
    drawn_ckd_loss,
    logit_variance,
    mse_centroid_ckd_loss,
    mse_ckd_loss,
    mse_cross_ckd_loss,
    mse_drawn_ckd_loss,
)
from distill_worker.methods import ckd as methods_ckd
from distill_worker.methods.base import LOGITS
from distill_worker.methods.ckd import CKD
from distill_worker.methods.terms import Batch
from distill_worker.methods.terms.base import probabilities_of
from tests.distill_worker.losses.comparisons import divergence
from tests.distill_worker.methods.terms.batches import CLASSES, LABELS, TARGETS, batch, cross_entropy_by_hand, made


def _against(
    student: Tensor, teacher: Tensor, others: list[tuple[Tensor, Tensor]], skip: set[tuple[int, int]]
) -> Tensor:
    """The mean of 16 KL((z_i - z'_j) / 4 || (s_i - s'_j) / 4) over pairs, one by one."""
    values = [
        16 * divergence((teacher[i] - other_teacher) / 4, (student[i] - other_student) / 4)
        for i in range(len(student))
        for j, (other_student, other_teacher) in enumerate(others)
        if (i, j) not in skip
    ]
    return torch.stack(values).mean()


def _logits(given: Batch) -> tuple[Tensor, Tensor]:
    return given.student[LOGITS], given.teacher[LOGITS]


def test_all_pairs_carry_beta_and_temperature() -> None:
    given = batch()
    terms = made(CKD(temperature=2, label_weight=0.25, beta=3))(given)
    assert_close(terms["ckd"], 3 * ckd_loss(*_logits(given), temperature=2))
    assert given.labels is not None
    assert_close(terms["label"], 0.25 * cross_entropy_by_hand(given.student[LOGITS], given.labels))


def test_drawn_groups_are_those_of_the_generator() -> None:
    given = batch(generator=torch.Generator().manual_seed(5))
    groups = draw_groups(6, 3, 7, torch.Generator().manual_seed(5))
    term = made(CKD(temperature=2, pairing="drawn", k=3, comparisons=7))(given)["ckd"]
    assert_close(term, drawn_ckd_loss(*_logits(given), groups, temperature=2))


@pytest.mark.parametrize("others", [12, 5])
def test_anchors_are_the_teachers_outputs_on_other_samples(others: int) -> None:
    """All twelve bought outputs, or as many as are drawn; never the sample itself."""
    given = batch(generator=torch.Generator().manual_seed(5))
    chosen = torch.randperm(12, generator=torch.Generator().manual_seed(5))[:others].tolist()
    skip = {(i, j) for i, own in enumerate(given.samples.tolist()) for j, other in enumerate(chosen) if own == other}
    anchors = [(TARGETS[LOGITS][position], TARGETS[LOGITS][position]) for position in chosen]
    term = made(CKD(pairing="anchors", others=others))(given)["ckd"]
    assert skip
    assert_close(term, _against(*_logits(given), anchors, skip))


def test_memory_is_compared_with_past_outputs_the_newest_first() -> None:
    """Nothing at first; then the last batch; then as many of the last two as fit, without the batch's own samples."""
    objective = made(CKD(pairing="memory", others=8))
    batches = [
        batch([0, 1, 2, 3, 4, 5], student_seed=1),
        batch([4, 5, 6, 7, 8, 9], student_seed=2),
        batch(student_seed=3),
    ]
    terms = [objective(given)["ckd"] for given in batches]
    assert float(terms[0].detach()) == 0
    past: list[tuple[int, Tensor, Tensor]] = []
    for given, term in zip(batches, terms, strict=True):
        if past:
            skip = {
                (i, j)
                for i, own in enumerate(given.samples.tolist())
                for j, (position, _, _) in enumerate(past)
                if own == position
            }
            assert skip
            assert_close(term, _against(*_logits(given), [(s, z) for _, s, z in past], skip))
        rows = zip(given.samples.tolist(), given.student[LOGITS].detach(), given.teacher[LOGITS], strict=True)
        past = [*rows, *past][:8]


def test_memory_is_part_of_the_state() -> None:
    first, second = (made(CKD(pairing="memory", others=8)) for _ in range(2))
    first(batch(student_seed=1))
    second.load_state_dict(first.state_dict())
    assert_close(first(batch())["ckd"], second(batch())["ckd"])
    assert float(second(batch())["ckd"].detach()) > 0


@pytest.mark.parametrize("pairing", ["memory", "anchors"])
def test_gradient_stays_in_the_batch(pairing: str) -> None:
    objective = made(CKD.model_validate({"pairing": pairing, "k": 3}))
    first, second = batch(student_seed=1), batch(student_seed=2)
    objective(first)["ckd"].sum()
    objective(second)["ckd"].backward()
    assert first.student[LOGITS].grad is None
    gradient = second.student[LOGITS].grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_comparative_label_term_has_one_hot_labels_for_a_teacher() -> None:
    given = batch()
    terms = made(CKD(label_term="comparative", label_weight=0.5))(given)
    one_hot = probabilities_of(LABELS[given.samples], CLASSES)
    assert_close(terms["label"], 0.5 * ckd_loss(given.student[LOGITS], one_hot))


def test_features_of_other_width_are_projected_and_the_projection_is_learned() -> None:
    objective = made(CKD(on="features"))
    given = batch()
    weights = dict(objective.named_parameters())
    assert [tuple(values.shape) for values in weights.values()] == [(5, 7)]
    (projection,) = weights.values()
    term = objective(given)["ckd"]
    projected = given.student["features.pooled"] @ projection.T
    assert_close(term, ckd_loss(projected, given.teacher["features.pooled"]))
    term.backward()
    assert projection.grad is not None
    assert projection.grad.abs().sum() > 0


def test_log_probabilities_compare_as_logits_do() -> None:
    on_logits, on_log_probabilities = (made(CKD.model_validate({"on": on})) for on in ("logits", "log_probabilities"))
    assert_close(on_log_probabilities(batch())["ckd"], on_logits(batch())["ckd"])


VARIANCE = logit_variance(TARGETS[LOGITS])
"""Of all bought outputs, not of the batch."""


def test_squared_error_of_all_pairs_carries_beta_and_the_variance_of_the_bought_outputs() -> None:
    given = batch()
    term = made(CKD(divergence="mse", beta=3))(given)["ckd"]
    assert_close(term, 3 * mse_ckd_loss(*_logits(given), variance=VARIANCE))


def test_squared_error_of_groups_compares_those_of_the_generator() -> None:
    given = batch()
    drawn = draw_groups(6, 3, 7, torch.Generator().manual_seed(5))
    for pairing, options, loss in (
        ("drawn", {"comparisons": 7}, mse_drawn_ckd_loss),
        ("all", {"groups": 7}, mse_centroid_ckd_loss),
    ):
        method = CKD.model_validate({"divergence": "mse", "k": 3, "pairing": pairing, **options})
        term = made(method)(batch(generator=torch.Generator().manual_seed(5)))["ckd"]
        assert_close(term, loss(*_logits(given), drawn, variance=VARIANCE))


def test_squared_error_compares_with_a_memory() -> None:
    objective = made(CKD(divergence="mse", pairing="memory", others=6))
    first, second = batch([0, 1, 2, 3, 4, 5], student_seed=1), batch(student_seed=2)
    assert float(objective(first)["ckd"].detach()) == 0
    same = second.samples[:, None] == first.samples[None]
    past = first.student[LOGITS].detach(), first.teacher[LOGITS]
    expected = mse_cross_ckd_loss(*_logits(second), *past, same_sample=same, variance=VARIANCE)
    assert_close(objective(second)["ckd"], expected)


def test_comparative_label_term_by_squared_error_is_divided_by_the_same_variance() -> None:
    given = batch()
    terms = made(CKD(divergence="mse", label_term="comparative", label_weight=0.5))(given)
    one_hot = probabilities_of(LABELS[given.samples], CLASSES)
    assert_close(terms["label"], 0.5 * mse_ckd_loss(given.student[LOGITS], one_hot, variance=VARIANCE))


def test_features_are_scaled_by_the_variance_of_the_features() -> None:
    objective = made(CKD(on="features", divergence="mse"))
    given = batch()
    (projection,) = objective.parameters()
    expected = mse_ckd_loss(
        given.student["features.pooled"] @ projection.T,
        given.teacher["features.pooled"],
        variance=logit_variance(TARGETS["features.pooled"]),
    )
    assert_close(objective(given)["ckd"], expected)


@pytest.mark.parametrize("setting", [{"pairing": "anchors"}, {"comparison": "concatenation"}])
def test_squared_error_rejects_what_compares_nothing(setting: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"divergence 'mse': expected .*, got .* use the method mse"):
        CKD.model_validate({"divergence": "mse", **setting})


def test_comparisons_of_the_loss_can_be_configured() -> None:
    """The configuration, which is read without PyTorch, has names of its own."""
    assert get_args(methods_ckd.Comparison) == get_args(comparisons.Comparison)
