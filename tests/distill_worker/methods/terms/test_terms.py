"""Every method has its term, with its weight and its parameters."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from distill_worker.losses import dist_loss, dkd_loss, kd_loss, lskd_loss, mse_loss, rkd_loss, ttm_loss, wttm_loss
from distill_worker.methods import METHODS, Method
from distill_worker.methods.base import LOGITS
from distill_worker.methods.ckd import CKD
from distill_worker.methods.mixup import CutMix, Mixup
from distill_worker.methods.pool import PseudoLabel
from distill_worker.methods.relational import RKD
from distill_worker.methods.single_sample import CE, DIST, DKD, KD, LSKD, MSE, TTM, WTTM
from distill_worker.methods.terms import Batch, Objective, Setting
from distill_worker.methods.terms.mixup import rounded_mixtures
from distill_worker.methods.white_box import AT, FitNet
from tests.distill_worker.methods.terms.batches import TARGETS, batch, cross_entropy_by_hand, made


@pytest.mark.parametrize("name", METHODS)
def test_every_method_adds_a_weighted_term_that_teaches_the_student(name: str) -> None:
    """Beside the label term, one term by the method's name: finite, weighted, with a gradient for the student."""
    method = METHODS[name]()
    given = _batch_for(method)
    terms = made(method)(given)
    if name == "ce":
        assert set(terms) == {"label"}
        return
    assert set(terms) == {"label", name}
    raw = made(method).terms[name](_batch_for(method))
    assert_close(terms[name], method.term_weight * raw)
    terms[name].backward()
    outputs = given.views[:1] if given.views is not None else given.student.values()
    assert any(values.grad is not None and values.grad.abs().sum() > 0 for values in outputs)


def _batch_for(method: Method) -> Batch:
    if not method.needs_pool:
        return batch()
    first = torch.zeros(2, 3, requires_grad=True)
    return batch(teacher={}, views=(first, torch.tensor([[9.0, 0, 0], [0, 0, 9]])))


def test_ce_is_cross_entropy_and_needs_no_teacher() -> None:
    given = batch(teacher={})
    assert given.labels is not None
    expected = cross_entropy_by_hand(given.student[LOGITS], given.labels)
    assert_close(made(CE(label_weight=0.5))(given), {"label": 0.5 * expected})
    assert not CE().needs_teacher


@pytest.mark.parametrize(
    ("method", "name", "expected"),
    [
        (KD(temperature=2, weight=3), "kd", lambda s, z, _: 3 * kd_loss(s, z, temperature=2)),
        (LSKD(temperature=3, weight=2), "lskd", lambda s, z, _: 2 * lskd_loss(s, z, temperature=3)),
        (DIST(temperature=2, weight=3), "dist", lambda s, z, _: 3 * dist_loss(s, z, temperature=2)),
        (TTM(temperature=2, weight=3), "ttm", lambda s, z, _: 3 * ttm_loss(s, z, temperature=2)),
        (WTTM(temperature=2, weight=3), "wttm", lambda s, z, _: 3 * wttm_loss(s, z, temperature=2)),
        (RKD(weight=3, angle_weight=7), "rkd", lambda s, z, _: 3 * rkd_loss(s, z, angle_weight=7)),
        (
            DKD(temperature=2, weight=3, alpha=2, beta=5, warm_up=0),
            "dkd",
            lambda s, z, labels: 3 * dkd_loss(s, z, labels, temperature=2, alpha=2, beta=5),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_terms_carry_their_weights_and_parameters(method: Method, name: str, expected: object) -> None:
    given = batch()
    assert callable(expected)
    terms = made(method)(given)
    assert set(terms) == {"label", name}
    assert_close(terms[name], expected(given.student[LOGITS], given.teacher[LOGITS], given.labels))
    assert given.labels is not None
    label = method.label_weight * cross_entropy_by_hand(given.student[LOGITS], given.labels)
    assert_close(terms["label"], label)


@pytest.mark.parametrize("step", [1, 3, 6, 7, 24])
def test_dkd_warms_up_over_its_share_of_the_steps(step: int) -> None:
    """A quarter of 24 steps: a sixth of the weight at the first, all of it from the sixth on."""
    whole = made(DKD(warm_up=0))(batch())["dkd"]
    assert_close(made(DKD(warm_up=0.25))(batch(step=step))["dkd"], min(1.0, step / 6) * whole)


def test_regression_is_scaled_by_the_variance_of_all_bought_outputs() -> None:
    """Not by that of the batch."""
    given = batch()
    centred = TARGETS[LOGITS] - TARGETS[LOGITS].mean(dim=1, keepdim=True)
    expected = mse_loss(given.student[LOGITS], given.teacher[LOGITS], variance=float(centred.square().mean()))
    assert_close(made(MSE(weight=3))(given)["mse"], 3 * expected)


def test_relations_of_features_need_no_equal_dimensions() -> None:
    given = batch()
    terms = made(RKD(on="features", weight=1))(given)
    assert_close(terms["rkd"], rkd_loss(given.student["features.pooled"], given.teacher["features.pooled"]))


def test_maps_are_averaged_over_their_area() -> None:
    given = batch()
    terms = made(RKD(on="features", weight=1, student_layer="stage2", teacher_layer="stage2"))(given)
    student, teacher = (side["features.stage2"].mean(dim=(2, 3)) for side in (given.student, given.teacher))
    assert_close(terms["rkd"], rkd_loss(student, teacher))


def test_term_without_weight_is_not_computed() -> None:
    """KD on a batch whose teacher outputs are missing would fail."""
    assert set(made(KD(weight=0))(batch(teacher={}))) == {"label"}


def test_added_terms_come_beside_the_methods_own() -> None:
    terms = made(DIST(), KD(weight=2), TTM())(batch())
    assert set(terms) == {"label", "dist", "kd", "ttm"}


def test_labelled_pool_teaches_the_labels_and_the_queried_samples_the_rest() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 1])
    terms = made(KD(label_weight=1, weight=1))(batch(labelled=(logits, labels)))
    assert_close(terms["label"], cross_entropy_by_hand(logits, labels))
    assert_close(terms["kd"], made(KD(weight=1))(batch())["kd"])


def test_pseudo_labels_come_from_the_second_view_where_it_is_sure() -> None:
    first, second = torch.zeros(3, 3), torch.tensor([[9.0, 0, 0], [0, 1, 0], [0, 0, 9]])
    terms = made(KD(), PseudoLabel(weight=3, threshold=0.9))(batch(views=(first, second)))
    assert_close(terms["pseudo-label"], 3 * torch.tensor(3.0).log() * 2 / 3)


@pytest.mark.parametrize("method", [Mixup(), CutMix()])
def test_mixtures_are_learned_with_their_soft_labels(method: Mixup | CutMix) -> None:
    given = batch(labels=None, label_probabilities=torch.full((6, 3), 1 / 3))
    terms = made(method)(given)
    uniform = -given.student[LOGITS].log_softmax(1).mean()
    assert_close(terms["label"], method.label_weight * uniform)
    assert_close(terms[method.name], method.weight * kd_loss(given.student[LOGITS], given.teacher[LOGITS]))


def test_only_stored_mixtures_mix_the_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(4, 1, 6, 6)
    assert made(Mixup()).mixture(images, generator) is not None
    assert made(Mixup(targets="requeried", mixtures=5)).mixture(images, generator) is None
    assert made(KD()).mixture(images, generator) is None


def test_mixtures_to_label_are_whole_pixels_and_more_keep_fewer() -> None:
    images = torch.randint(0, 256, (5, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    probabilities = torch.eye(5)
    few = rounded_mixtures(Mixup(targets="requeried", mixtures=3), images, probabilities, seed=1)
    many = rounded_mixtures(Mixup(targets="requeried", mixtures=12), images, probabilities, seed=1)
    assert (few[0].dtype, few[0].shape, many[0].shape) == (torch.uint8, (3, 1, 4, 4), (12, 1, 4, 4))
    assert torch.equal(many[0][:3], few[0])
    assert torch.equal(many[1][:3], few[1])
    for picture, shares in zip(*many, strict=True):
        expected = (shares[:, None, None, None] * images.float()).sum(dim=0)
        assert (picture.float() - expected).abs().max() <= 0.5 + 1e-3


@pytest.mark.parametrize("method", [FitNet(), AT(), RKD(on="features")])
def test_features_are_asked_for_by_layer(method: Method) -> None:
    assert len(method.student_layers) == 1
    assert method.teacher_kinds[0] == LOGITS
    assert method.teacher_kinds[1].startswith("features.")
    objective = made(method)
    assert isinstance(objective, Objective)
    assert objective.student_layers == method.student_layers
    assert TARGETS.keys() >= set(method.teacher_kinds)


@pytest.mark.parametrize(("num_classes", "factor"), [(3, 1.0), (10, 1.0), (96, 9.6)])
def test_weight_by_classes_grows_with_those_above_ten(num_classes: int, factor: float) -> None:
    assert KD(weight=0.5, by_classes=True).weight_on(num_classes) == 0.5 * factor
    assert CKD(beta=2, by_classes=True).weight_on(num_classes) == 2 * factor
    assert KD(weight=0.5).weight_on(num_classes) == 0.5


def test_objective_weighs_a_term_by_the_classes_of_the_data() -> None:
    setting = Setting(num_classes=40, steps=1, student_shapes={LOGITS: (40,)}, targets={LOGITS: torch.zeros(2, 40)})
    logits = torch.randn(2, 40, generator=torch.Generator().manual_seed(0))
    given = replace(batch(), student={LOGITS: logits}, teacher={LOGITS: logits.flip(0)}, labels=torch.tensor([1, 2]))
    weighed, plain = (Objective([KD(by_classes=by)], setting)(given)["kd"] for by in (True, False))
    assert_close(weighed, 4 * plain)


@pytest.mark.parametrize("settings", [{"divergence": "mse"}, {"on": "features"}])
def test_comparisons_that_do_not_shrink_with_the_classes_are_not_weighed_by_them(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"by_classes: expected false, .*got divergence"):
        CKD(by_classes=True, **settings)
