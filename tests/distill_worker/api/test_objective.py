"""The objective of a run, as a loss of one's own loop."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distill_worker.api.bought import Bought, Purchase
from distill_worker.api.objective import Objective
from distill_worker.errors import ConfigError
from distill_worker.losses import kd_loss
from distill_worker.methods import METHODS
from distill_worker.methods.expression import methods_in
from tests.distill_worker.methods.terms.batches import LABELS, TARGETS, batch, made

LOGITS = TARGETS["logits"]
ROWS = torch.tensor([0, 2, 3, 7, 8, 11])
_EXPRESSIONS = (
    "kd", "ce", "dkd(warm_up=0)", "lskd", "mse", "dist", "ttm", "wttm", "rkd", "sp", "cc", "pkt",
    "ckd", "ckd(pairing=drawn, k=3)", "ckd(pairing=anchors)", "ckd(pairing=memory)", "ckd(divergence=mse)",
    "ckd(label_term=comparative)", "ckd(comparison=interpolation)", "kd + ckd(pairing=anchors)", "kd(by_classes=true)",
)  # fmt: skip


def _student(seed: int = 4) -> Tensor:
    values = batch(student_seed=seed).student["logits"]
    return values.detach().requires_grad_()


def _bought(n: int = 12) -> Bought:
    """The targets as bought outputs, at the even positions of twice as many images."""
    log_probabilities = torch.full((24, 3), torch.nan)
    log_probabilities[::2] = LOGITS.log_softmax(dim=1)
    return Bought(
        images=torch.zeros(24, 1, 8, 8, dtype=torch.uint8),
        indices=2 * torch.arange(n),
        log_probabilities=log_probabilities,
        held=torch.arange(24) % 2 == 0,
        class_names=("a", "b", "c"),
        teacher_id="t",
        output="logits",
        n=n,
        calls=n,
        remaining=None,
        names=None,
        purchase=Purchase({}, None, {}, {}, Path("cache"), (), ()),
    )


@pytest.mark.parametrize("expression", _EXPRESSIONS)
def test_loss_and_gradient_are_those_of_a_run(expression: str) -> None:
    """Bit for bit, over several steps, with all outputs known: terms, weights, draws and memory are the same."""
    of_run, loss = made(*methods_in(expression)), Objective(expression, outputs=LOGITS)
    generator = torch.Generator().manual_seed(0)
    for step in (1, 2, 3):
        in_run = batch(student_seed=step, step=step, generator=generator)
        expected = torch.stack(list(of_run(in_run).values())).sum()
        expected.backward()  # type: ignore[no-untyped-call]
        student = _student(seed=step)
        total = loss(student, LOGITS[ROWS], LABELS[ROWS], ROWS)
        total.backward()
        assert student.grad is not None
        assert torch.equal(total, expected)
        assert torch.equal(student.grad, torch.as_tensor(in_run.student["logits"].grad))


def test_every_method_that_is_a_loss_of_logits_is_compared() -> None:
    names = {expression.partition("(")[0] for expression in _EXPRESSIONS if "+" not in expression}
    assert names | {"mixup", "mixup3", "cutmix", "crd", "fitnet", "at", "vid", "pseudo-label"} == set(METHODS)


def test_without_labels_their_weight_is_0() -> None:
    student = _student()
    expected = 0.9 * kd_loss(student, LOGITS[ROWS], temperature=4.0)
    torch.testing.assert_close(Objective("kd")(student, LOGITS[ROWS]), expected)
    assert set(Objective("kd").terms(student, LOGITS[ROWS])) == {"kd"}
    assert set(Objective("kd").terms(student, LOGITS[ROWS], LABELS[ROWS])) == {"label", "kd"}
    for expression in ("ckd", "ce", "dkd"):
        with pytest.raises(ConfigError, match=r"labels: expected int64 \[batch\]"):
            Objective(expression)(student, LOGITS[ROWS])


def test_gradient_goes_to_the_student_alone() -> None:
    student, teacher = _student(), LOGITS[ROWS].clone().requires_grad_()
    Objective("kd + ckd")(student, teacher).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_rows_are_known_by_position_or_by_content() -> None:
    """With `outputs`, what `buy` returned: its positions are those of the Dataset, and equal rows are one sample."""
    bought, student = _bought(), _student()
    rows = bought.log_probabilities[2 * ROWS]
    losses = [
        Objective("kd + ckd(pairing=anchors)", outputs=bought)(student, rows, index=2 * ROWS),
        Objective("kd + ckd(pairing=anchors)", outputs=bought)(student, rows),
        Objective("kd + ckd(pairing=anchors)", outputs=LOGITS.log_softmax(dim=1))(student, rows, index=ROWS),
    ]
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(losses[0], losses[2])
    with pytest.raises(ConfigError, match="index: expected samples that `outputs` holds, got 6 others, such as 1"):
        Objective("ckd(pairing=anchors)", outputs=bought)(student, rows, LABELS[ROWS], 2 * ROWS + 1)


def test_anchors_without_outputs_are_those_of_the_calls_so_far() -> None:
    """From the second epoch on, they are all."""
    loss, whole = (Objective("kd + ckd(pairing=anchors)", outputs=outputs) for outputs in (None, LOGITS))
    student = torch.randn(12, 3, generator=torch.Generator().manual_seed(9))
    first = loss(student[:6], LOGITS[:6])
    assert not torch.isclose(first, whole(student[:6], LOGITS[:6]))
    loss(student[6:], LOGITS[6:])
    whole(student[6:], LOGITS[6:])
    torch.testing.assert_close(loss(student[:6], LOGITS[:6]), whole(student[:6], LOGITS[:6]))


@pytest.mark.parametrize(
    ("expression", "arguments", "message"),
    [
        ("fitnet", {}, "got fitnet: it learns from features of the teacher; train with distill_worker.distill"),
        ("kd + rkd(on=features)", {}, "got rkd: it learns from features"),
        ("kd + pseudo-label", {}, "got pseudo-label: it learns from views"),
        ("mixup", {}, "got mixup: it trains on mixtures"),
        ("crd", {}, "got crd: it has parameters of its own"),
        ("mse", {}, "outputs: expected all outputs .* because the scale of mse"),
        ("kd + ckd(divergence=mse)", {}, "because the scale of ckd"),
        ("rkd", {"outputs": _bought()}, "rkd needs logits, got log_probabilities: .*on = 'log_probabilities'"),
        ("kd", {"outputs": torch.zeros(3)}, r"outputs: expected float \['samples', 'classes'\]"),
        ("kd", {"outputs": torch.full((3, 2), torch.nan)}, r"bought.log_probabilities\[bought.held\]"),
        ("kd", {"outputs": LOGITS, "num_classes": 4}, r"expected float \['samples', 4\].*got \[12, 3\]"),
        ("kdd", {}, "did you mean 'kd'"),
    ],
)
def test_what_cannot_be_such_a_loss_is_an_error(expression: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Objective(expression, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(4, 3), torch.zeros(4, 2)), "student_logits and teacher_logits: expected .batch, classes. both"),
        ((torch.zeros(4), torch.zeros(4)), "student_logits and teacher_logits"),
        ((torch.zeros(4, 3), torch.zeros(4, 3), torch.zeros(3).long()), "labels: expected int64"),
        ((torch.zeros(4, 3), torch.zeros(4, 3), None, torch.zeros(3).long()), "index: expected int64"),
        ((torch.zeros(1, 3), torch.zeros(1, 3)), "ckd needs batches of at least 2 samples, got 1: .*drop_last=True"),
    ],
)
def test_wrong_shape_is_named(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Objective("kd + ckd")(*arguments)


def test_state_is_whole_once_the_classes_are_known() -> None:
    """A memory is restored with it."""
    loss, other = (Objective("kd + ckd(pairing=memory)", num_classes=3) for _ in range(2))
    loss(_student(), LOGITS[ROWS])
    other.load_state_dict(loss.state_dict())
    assert any(values.abs().sum() > 0 for values in other.state_dict().values())
    assert "kd + ckd(pairing=memory)" in repr(other)
