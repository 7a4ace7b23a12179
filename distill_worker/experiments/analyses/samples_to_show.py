"""The samples that are worth a look: where the student is wrong, and where it differs most from its teacher."""

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from distill_worker.training.finished.fidelity import divergences

_TOP: Final = 3
_MOST_ERRORS: Final = 24
_MOST_DISPUTED: Final = 12


def errors(student: Tensor, labels: Tensor, teacher: Tensor | None = None) -> list[dict[str, Any]]:
    """At most 24 samples that the student gets wrong, the most confident first, JSON-able.

    Args:
        student: log-probabilities, float64 `[samples, classes]`.
        labels: int64 `[samples]`.
        teacher: as `student`, or None.

    Returns:
        For each: `index` (the sample), `label`, `top` (the student's likeliest classes), and the `teacher`'s, if given.
    """
    confidence, predicted = student.max(dim=1)
    wrong = (predicted != labels).nonzero().flatten()
    ranked = wrong[confidence[wrong].argsort(descending=True, stable=True)][:_MOST_ERRORS]
    sides = {"top": student} | ({} if teacher is None else {"teacher": teacher})
    return [{"index": row, "label": int(labels[row]), **_tops(sides, row)} for row in ranked.tolist()]


def disputed(teacher: Tensor, student: Tensor, indices: Tensor, labels: Tensor | None) -> list[dict[str, Any]]:
    """At most 12 samples with the largest divergence of teacher and student, JSON-able.

    Args:
        teacher: see `divergences`.
        student: likewise.
        indices: int64 `[samples]`: the positions of the samples in their data set.
        labels: int64 `[samples]`, or None.

    Returns:
        For each: `index`, `label`, `teacher` and `student` (their likeliest classes), and `kl`.
    """
    kl = divergences(teacher, student)
    ranked = kl.argsort(descending=True, stable=True)[:_MOST_DISPUTED]
    return [
        {
            "index": int(indices[row]),
            "label": None if labels is None else int(labels[row]),
            **_tops({"teacher": teacher, "student": student}, row),
            "kl": float(kl[row]),
        }
        for row in ranked.tolist()
    ]


def _tops(sides: Mapping[str, Tensor], row: int) -> dict[str, list[dict[str, Any]]]:
    """The classes with the largest probabilities above 0, at most three, for each side."""
    tops = {}
    for side, log_probabilities in sides.items():
        ranked = log_probabilities[row].exp().sort(descending=True, stable=True)
        pairs = zip(ranked.indices[:_TOP].tolist(), ranked.values[:_TOP].tolist(), strict=True)
        tops[side] = [{"class": place, "probability": value} for place, value in pairs if value > 0]
    return tops
