"""Convert the distribution that a teacher returned to logits for the methods.

Every method, unless it declares `needs_logits`, uses a sample's logits through their softmax alone, which is the same
for the log-probabilities. So:

    logits              unchanged
    log_probabilities   unchanged; a probability of 0 (-inf) becomes the smallest normal float32
    probabilities[:D]   log p, with the classes returned as 0 filled in
    top_k:K[:D]         log p, with the classes returned as 0, and the absent ones, filled in
    label               log of 1 - s for the returned class and s / (classes - 1) for each other, s the label smoothing

How a row is filled in. m classes are absent, n are returned as 0, and the others add up to S. Each of the m + n gets

    max(1 - S, r) / (m + n), and at most f where n > 0,

with r = f = 10^-D / 2, half of the last digit; without D, r = 2^-24, to which a sum of float32 probabilities is known,
and f the smallest normal float32, about 1.2e-38. The row is then divided by its sum. So a top_k of all classes is the
same as probabilities; a class never gets more than a value that rounds to 0; and however many classes are returned as
0, together they get about what the returned ones leave to 1.

Departs: only logits and log_probabilities are exact. The order of the filled-in classes is lost, and rounding changes
the ratios of the returned ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import Final

import torch
from torch import Tensor

from distill_worker.errors import TeacherError
from shared.output_kinds import (
    LABEL,
    LOG_PROBABILITIES,
    LOGITS,
    PROBABILITIES,
    TOP_K,
    OutputKind,
)
from shared.output_kinds.sums import SUM_MAY_BE_OFF_BY, sums_may_be_off_by

SMALLEST: Final = torch.finfo(torch.float32).tiny
SUM_IS_KNOWN_TO: Final = 2.0**-24


@dataclass(frozen=True)
class TeacherLogits:
    """All bought outputs of the samples, in the form that methods take."""

    targets: Mapping[str, Tensor]
    """float32 `[samples, ...]`: `logits` in the data's order of classes, if a distribution was bought, and features by
    kind."""
    output: str | None
    """The kind of distribution that was bought; None if there was none."""
    rule: str | None
    """The conversion to logits, in words; None if nothing was changed."""
    class_order: tuple[int, ...] | None = None
    """For each class of the data, its place among the teacher's; None if both have the same order."""


def to_teacher_logits(
    bought: Mapping[str, Tensor],
    num_classes: int,
    *,
    label_smoothing: float = 0.1,
    class_order: tuple[int, ...] | None = None,
) -> TeacherLogits:
    """Convert the distribution among the bought outputs, float32 `[samples, ...]` by kind, to logits.

    Args:
        bought: the outputs, in the teacher's order of classes.
        num_classes: at least 2.
        label_smoothing: see `to_logits`.
        class_order: for each class of the data, its place among the teacher's; None if both have the same order.

    Raises:
        TeacherError: there are several distributions, or values that their kind cannot have.
    """
    kinds = [OutputKind.parse(text) for text in bought]
    distributions = [kind for kind in kinds if not kind.is_features]
    targets = {str(kind): bought[str(kind)] for kind in kinds if kind.is_features}
    if len(distributions) > 1:
        raise TeacherError(f"expected one distribution a sample, got {', '.join(map(str, distributions))}")
    if not distributions:
        return TeacherLogits(targets, None, None)
    kind = distributions[0]
    logits = to_logits(kind, bought[str(kind)], num_classes, label_smoothing=label_smoothing)
    targets[LOGITS] = logits if class_order is None else logits[:, list(class_order)]
    return TeacherLogits(targets, str(kind), rule_of(kind, label_smoothing=label_smoothing), class_order)


def rule_of(kind: OutputKind, *, label_smoothing: float = 0.1) -> str | None:
    """The conversion of this kind by `to_logits`, in words; None if it changes nothing.

    The text is part of a run's identity: with another text, a finished run would count as another run.
    """
    if kind.name == LABEL:
        return f"label smoothing {label_smoothing:g}, the rest evenly over the other classes"
    if kind.name not in (PROBABILITIES, TOP_K):
        return None
    most, least = _bounds(kind)
    told = f"classes told as 0 share what the others leave to 1, at most {most:.3g} each"
    if kind.name == TOP_K:
        return f"classes not told share what the others leave to 1, at least {least:.3g} together; {told}"
    return told if kind.digits is not None else f"classes told as 0 get {most:.3g}"


def to_logits(kind: OutputKind, values: Tensor, num_classes: int, *, label_smoothing: float = 0.1) -> Tensor:
    """The logits for the methods, float32 `[samples, classes]`, finite; computed in float64.

    Args:
        kind: a distribution.
        values: float32 `[samples, *kind.shape(num_classes)]`.
        num_classes: at least 2.
        label_smoothing: above 0 and below 1/2, so that the returned class is the likeliest; for `label`.

    Raises:
        TeacherError: values that this kind cannot have.
    """
    shape = (len(values), *kind.shape(num_classes))
    if values.shape != shape:
        raise _unexpected(kind, f"the shape {list(shape)}", f"{list(values.shape)}")
    if values.isnan().any() or values.isposinf().any() or (kind.name != LOG_PROBABILITIES and values.isinf().any()):
        raise _unexpected(kind, "finite numbers", "NaN or infinity")
    if kind.name == LOGITS:
        return values
    if kind.name == LOG_PROBABILITIES:
        _check_sum(kind, values.double().exp(), whole=True)
        return torch.where(values.isneginf(), log(SMALLEST), values)
    if kind.name == LABEL:
        labels = _classes(kind, values, num_classes)
        rows = torch.full((len(values), num_classes), label_smoothing / (num_classes - 1), dtype=torch.float64)
        rows.scatter_(1, labels, 1 - label_smoothing)
        return rows.log().float()
    if kind.name == PROBABILITIES:
        return _filled_in(kind, values.double(), torch.ones(shape, dtype=torch.bool))
    classes, probabilities = _classes(kind, values[:, :, 0], num_classes), values[:, :, 1].double()
    rows = torch.zeros(len(values), num_classes, dtype=torch.float64).scatter_(1, classes, probabilities)
    is_returned = torch.zeros_like(rows, dtype=torch.bool).scatter_(
        1, classes, torch.ones_like(classes, dtype=torch.bool)
    )
    return _filled_in(kind, rows, is_returned)


def _filled_in(kind: OutputKind, rows: Tensor, is_returned: Tensor) -> Tensor:
    """The logarithm of the filled-in `rows`, which are float64 `[samples, classes]`, 0 for absent classes."""
    if (rows < 0).any() or (rows > 1 + SUM_MAY_BE_OFF_BY).any():
        raise _unexpected(kind, "probabilities from 0 to 1", f"{rows.min():.6g} to {rows.max():.6g}")
    total = rows.sum(dim=1, keepdim=True)
    if rows.numel():
        _check_sum(kind, rows[is_returned].reshape(len(rows), -1), whole=bool(is_returned.all()))
    most, least = _bounds(kind)
    is_seen = rows >= SMALLEST
    unseen = (~is_seen).sum(dim=1, keepdim=True)
    share = (1 - total).clamp(min=least) / unseen
    returned_as_zero = (is_returned & ~is_seen).any(dim=1, keepdim=True)
    share = torch.where(returned_as_zero, share.clamp(max=most), share)
    rows = torch.where(is_seen, rows, share)
    return (rows / rows.sum(dim=1, keepdim=True)).log().float()


def _bounds(kind: OutputKind) -> tuple[float, float]:
    """The most that a class returned as 0 gets, and the least that all filled-in classes get together."""
    if kind.digits is None:
        return SMALLEST, SUM_IS_KNOWN_TO
    return 10.0**-kind.digits / 2, 10.0**-kind.digits / 2


def _classes(kind: OutputKind, values: Tensor, num_classes: int) -> Tensor:
    """Class indices, int64 `[samples, k]`, different within each row."""
    classes = values.long()
    if (classes != values).any() or (classes < 0).any() or (classes >= num_classes).any():
        raise _unexpected(kind, f"classes from 0 to {num_classes - 1}", f"{values.min():.6g} to {values.max():.6g}")
    ordered = classes.sort(dim=1).values
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        raise _unexpected(kind, "different classes for a sample", "one class twice")
    return classes


def _check_sum(kind: OutputKind, returned: Tensor, *, whole: bool) -> None:
    """Check the sums of the returned probabilities, float64 `[samples, returned]`."""
    total = returned.sum(dim=1)
    off_by = torch.from_numpy(sums_may_be_off_by(kind, returned.numpy()))
    if (total > 1 + off_by).any() or (whole and (total < 1 - off_by).any()):
        expected = f"probabilities that add up to {'1' if whole else '1 or less'}, within {off_by.max():.3g}"
        raise _unexpected(kind, expected, f"sums from {total.min():.6g} to {total.max():.6g}")


def _unexpected(kind: OutputKind, expected: str, got: str) -> TeacherError:
    return TeacherError(f"the teacher's {kind}: expected {expected}, got {got}; check teacher.output")
