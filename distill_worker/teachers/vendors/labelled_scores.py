"""A teacher as vendors sell it: each request is one image file, each answer the most likely labels with their scores.

    POST <url>, Content-Type: image/png  ->  [{"label": "cat", "score": 0.93}, {"label": "dog", "score": 0.05}, ...]

The file is the user's own one, if the data set has files; otherwise the pixels as PNG. `[teacher.answer]` says where
labels and scores stand in an answer of another shape.

It sells `top_k:K`, where K is `teacher.top_k`, or the number of labels if that is smaller. An answer with more labels
is cut to its K largest; one with fewer is an error, because the rest is unknown.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from distill_worker.config.answers.answer_path import AnswerFields, values_at
from distill_worker.teachers.http_sender import Sender
from distill_worker.teachers.vendors.one_image import OneImageTeacher, Vendor
from shared.output_kinds import TOP_K, OutputKind
from shared.output_kinds.sums import sums_may_be_off_by

_PLAIN: Final = AnswerFields()


class LabelledScoresTeacher(OneImageTeacher):
    """A client of one such URL."""

    def __init__(
        self,
        sender: Sender,
        vendor: Vendor,
        *,
        top_k: int = 5,
        score_digits: int | None = None,
        fields: AnswerFields = _PLAIN,
    ) -> None:
        """A client of this model, whose answers have labels and scores at these fields."""
        kind = OutputKind(TOP_K, min(top_k, len(vendor.labels)), score_digits)
        super().__init__(sender, vendor, [kind], read_by="" if fields == _PLAIN else fields.model_dump_json())
        self._fields = fields
        self._kind = kind
        self._is_whole = kind.shape(vendor.classes)[0] == vendor.classes

    def _request(self, image: bytes, media_type: str) -> tuple[bytes, str]:
        return image, media_type

    def _scores(self, content: bytes, kind: OutputKind) -> dict[int, float]:  # noqa: ARG002 - all that it states
        return _scores_of(content, self._fields, self._vendor.labels, self._kind, must_add_up_to_1=self._is_whole)

    def _answered_version(self, headers: Mapping[str, str], content: bytes) -> str | None:  # noqa: ARG002
        return headers.get("x-model-version")


def _scores_of(
    content: bytes, fields: AnswerFields, labels: Mapping[str, int], kind: OutputKind, *, must_add_up_to_1: bool
) -> dict[int, float]:
    """The score of each class in an answer, from 0 to 1.

    Args:
        content: the answer, JSON.
        fields: where labels and scores stand in it.
        labels: the class of each label.
        kind: the kind of output that is read, with the digits that scores are rounded to, if known.
        must_add_up_to_1: whether they are the scores of all classes; other scores must add up to 1 at most.

    Raises:
        ValueError: it says something else.
    """
    answer = json.loads(content)
    try:
        named, values = values_at(fields.labels, answer), values_at(fields.scores, answer)
    except ValueError as error:
        raise ValueError(
            f"expected a list of labels with scores at {fields.labels} and {fields.scores}: {error}; set "
            "teacher.answer (an object whose keys are the labels cannot be read)"
        ) from error
    if len(named) != len(values):
        raise ValueError(
            f"expected a score for each label, got {len(named)} labels at {fields.labels} and {len(values)} scores at "
            f"{fields.scores}"
        )
    scores: dict[int, float] = {}
    for label, value in zip(named, values, strict=True):
        name = str(label) if isinstance(label, int) and not isinstance(label, bool) else label
        if not isinstance(name, str) or name not in labels:
            raise ValueError(f"expected a label of [teacher.labels], got {label!r}")
        if labels[name] in scores:
            raise ValueError(f"expected each label once, got {name!r} twice")
        scores[labels[name]] = _score(name, value, fields)
    _check_sum(list(scores.values()), kind, must_add_up_to_1)
    return scores


def _score(label: str, value: Any, fields: AnswerFields) -> float:
    highest = 100 if fields.percent else 1
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and 0 <= value <= highest:
        return float(value / highest)
    advice = "; if scores are percentages, set teacher.answer.percent = true" if is_number and 1 < value <= 100 else ""
    raise ValueError(f"expected a score from 0 to {highest} for {label!r}, got {json.dumps(value)[:40]}{advice}")


def _check_sum(scores: Sequence[float], kind: OutputKind, must_add_up_to_1: bool) -> None:
    total = sum(scores)
    off_by = float(sums_may_be_off_by(kind, np.array([scores]))[0])
    # Rounding adds half of a last digit to a score at most, but a digit that is cut off may be a whole one.
    over_by = off_by if kind.digits is None else len(scores) * 0.5 * 10.0**-kind.digits + 1e-6
    if total > 1 + over_by:
        raise ValueError(f"expected scores that add up to 1 at most, got {total:.6g}")
    if must_add_up_to_1 and len(scores) == kind.k and total < 1 - off_by:
        raise ValueError(
            f"expected scores of all {len(scores)} classes that add up to 1, within {off_by:.3g}, got {total:.6g}"
        )
