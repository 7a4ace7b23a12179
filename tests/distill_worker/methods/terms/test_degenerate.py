"""A method that can learn nothing from the data says so before it is bought for. The oracle is the gradient itself."""

import re
from collections.abc import Mapping

import pytest
import torch

from distill_worker.errors import ConfigError
from distill_worker.methods import METHODS, Method, why_not_on
from distill_worker.methods.base import LOGITS
from distill_worker.methods.ckd import CKD
from distill_worker.methods.crd import CRD
from distill_worker.methods.pool import PseudoLabel
from distill_worker.methods.relational import CC, PKT, RKD, SP
from distill_worker.methods.single_sample import CE, DIST, DKD, KD, LSKD
from distill_worker.methods.terms import Batch, Objective, Setting
from distill_worker.methods.terms.base import probabilities_of
from distill_worker.methods.white_box import AT
from tests.distill_worker.methods.terms.batches import made

_NOTHING = 1e-4
"""What rounding, and small constants against division by 0, leave of a gradient that is 0."""
MAPS = "features.stage2"
_SHAPES = {MAPS: (6, 4, 4), "features.pooled": (6,)}


def _largest_gradient(
    method: Method, classes: int, batch: int, shapes: Mapping[str, tuple[int, ...]] = _SHAPES
) -> float:
    """Of the method's term, over several steps on random outputs; 0 if the term cannot be computed."""
    generator = torch.Generator().manual_seed(0)
    targets = {
        kind: 3 * torch.randn(batch, *shape, generator=generator).double()
        for kind, shape in {LOGITS: (classes,), **shapes}.items()
    }
    objective = Objective([method], Setting(classes, 10, {LOGITS: (classes,), **shapes}, targets)).double()
    largest = 0.0
    for step in range(1, 7):
        rows = torch.randperm(batch, generator=generator)
        student = {
            kind: (3 * torch.randn(values.shape, generator=generator).double()).requires_grad_()
            for kind, values in targets.items()
        }
        labels = torch.randint(0, classes, (batch,), generator=generator)
        given = Batch(
            student=student,
            teacher={kind: values[rows] for kind, values in targets.items()},
            label_probabilities=probabilities_of(labels, classes),
            labels=labels,
            samples=rows,
            generator=generator,
            step=step,
            views=(student[LOGITS], student[LOGITS].detach()),
        )
        try:
            terms = objective(given)
        except ValueError:
            return 0.0
        terms["label"].detach_()
        sum(value for name, value in terms.items() if name != "label").backward()
        largest = max([largest, *(float(x.grad.abs().max()) for x in student.values() if x.grad is not None)])
    return largest


_CASES = [
    *(METHODS[name]() for name in METHODS if name not in ("ce", "pseudo-label")),
    PseudoLabel(threshold=0.1),
    DKD(alpha=0),
    CKD(k=3, groups=8),
    *(CKD(pairing=pairing) for pairing in ("drawn", "memory", "anchors")),
    *(CKD(comparison=comparison) for comparison in ("addition", "interpolation", "concatenation")),
    *(CKD(divergence="mse", pairing=pairing) for pairing in ("all", "drawn", "memory")),
    *(CKD(divergence="mse", comparison=comparison) for comparison in ("addition", "interpolation")),
    CKD(divergence="mse", k=3, groups=8),
    *(method(on="log_probabilities") for method in (RKD, SP, CC, PKT)),
]


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("method", _CASES, ids=repr)
def test_method_is_rejected_exactly_where_its_term_has_no_gradient(method: Method, classes: int, batch: int) -> None:
    reason = why_not_on([method], num_classes=classes, batch=batch)
    if isinstance(method, CRD) and batch == 1:
        assert reason is not None, "the one sample would be its own contrast"
    else:
        assert (reason is None) == (_largest_gradient(method, classes, batch) > _NOTHING)


@pytest.mark.parametrize(
    ("method", "classes", "batch", "message"),
    [
        (LSKD(), 2, 64, "lskd needs at least 3 classes, got 2: .* for example kd"),
        (DKD(alpha=0), 2, 64, r"dkd with alpha = 0 needs at least 3 classes, got 2: .*method\.alpha"),
        (DIST(), 2, 2, "dist needs a batch of at least 2 samples, and of 3 if there are 2 classes, got 2 and 2"),
        (RKD(), 10, 2, "rkd needs batches of at least 3 samples, got 2"),
        (CKD(k=5), 10, 4, "ckd needs batches of at least 5 samples, got 4"),
    ],
)
def test_reason_names_what_is_needed(method: Method, classes: int, batch: int, message: str) -> None:
    reason = why_not_on([KD(), method], num_classes=classes, batch=batch)
    assert reason is not None
    assert re.search(message, reason)


def test_term_without_weight_is_not_computed_and_so_not_rejected() -> None:
    assert why_not_on([LSKD(weight=0)], num_classes=2, batch=64) is None


@pytest.mark.parametrize("methods", [[KD(weight=0, label_weight=0)], [CE(label_weight=0), LSKD(weight=0)]])
def test_objective_without_any_weight_is_rejected(methods: list[Method]) -> None:
    with pytest.raises(ConfigError, match="expected a positive weight of the labels or of a term, got 0 for all"):
        made(*methods)


@pytest.mark.parametrize(
    ("method", "shapes", "message"),
    [
        (AT(), {MAPS: (6, 1, 1)}, r"method\.student_layer: .*single place"),
        (CC(on="features"), {"features.pooled": (1,)}, r"method\.student_layer: cc has no gradient"),
        (CKD(on="features"), {"features.pooled": (1,)}, r"method\.teacher_layer: ckd has no gradient"),
    ],
)
def test_features_without_a_gradient_are_rejected(
    method: Method, shapes: Mapping[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        _largest_gradient(method, 3, 8, shapes)


@pytest.mark.parametrize("shapes", [{MAPS: (1, 2, 1)}, {MAPS: (6, 1, 2)}])
def test_attention_on_two_places_teaches(shapes: Mapping[str, tuple[int, ...]]) -> None:
    assert _largest_gradient(AT(), 3, 8, shapes) > _NOTHING
