"""A teacher as vendors sell it: each request is one image file, each answer the most likely labels with their scores.

    POST <url>, Content-Type: image/png  ->  [{"label": "cat", "score": 0.93}, {"label": "dog", "score": 0.05}, ...]

The file is the user's own one, if the data set has files; otherwise the pixels as PNG. `[teacher.answer]` says where
labels and scores stand in an answer of another shape.

It sells `top_k:K`, where K is `teacher.top_k`, or the number of labels if that is smaller. An answer with more labels
is cut to its K largest; one with fewer is an error, because the rest is unknown.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from types import TracebackType
from typing import Any, Final, Self

import httpx
import numpy as np
from numpy.typing import NDArray

from distill_worker.cache import RawAnswer
from distill_worker.cache.raw_answers import SENT
from distill_worker.config.answer_path import AnswerFields, values_at
from distill_worker.data.sent_images import Files, own_file, png_of_file, png_of_pixels
from distill_worker.errors import DataError, TeacherRefused
from distill_worker.teachers.base import Answer, Description, LoggedQuery, Quota, read_paid
from distill_worker.teachers.http_errors import public_url, shown_content
from distill_worker.teachers.http_sender import Sender, received
from shared.output_kinds import TOP_K, OutputKind
from shared.output_kinds.sums import sums_may_be_off_by
from shared.sample_key import sample_key

_PLAIN: Final = AnswerFields()
_NO_VERSION: Final = "unversioned"


class LabelledScoresTeacher:
    """A client of one such URL. A context manager; thread-safe."""

    def __init__(
        self,
        sender: Sender,
        *,
        url: str,
        model: str,
        labels: Mapping[str, int],
        top_k: int = 5,
        score_digits: int | None = None,
        fields: AnswerFields = _PLAIN,
        sends_files: bool = False,
        image_size: tuple[int, int] | None = None,
        model_version: str | None = None,
        num_classes: int | None = None,
        repeats_are_free: bool = False,
    ) -> None:
        """A client of this model.

        `labels` is the class of each label, one label for a class at most; some classes may have none. `sends_files` is
        whether the user's own files are sent, see `use_files`; `image_size` is what the sent images are resized to.
        """
        self.payer = self.credential = sender.credential
        self._sender = sender
        self._url = url
        self._shown = public_url(url)
        self._model = model
        self._labels = dict(labels)
        self._fields = fields
        self._sends_files = sends_files
        self._image_size = image_size
        self._files: Files = {}
        self._meaning = _meaning(labels, fields)
        self._version = model_version or _NO_VERSION
        classes = max(num_classes or 0, 1 + max(labels.values()))
        self._kind = kind = OutputKind(TOP_K, min(top_k, len(labels)), score_digits)
        self._description = Description(
            id=self._id(self._version),
            image_shape=None,
            num_classes=classes,
            max_request_size=1,
            outputs={str(kind): kind.shape(classes)},
            repeats_are_free=repeats_are_free,
            sends=self._sent_in_words(),
            may_lack_classes=True,
            source=self._source(self._version),
        )
        self._is_whole = kind.shape(classes)[0] == classes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._sender.__exit__(kind, error, traceback)

    def stop(self) -> None:
        """See `Teacher.stop`."""
        self._sender.stop()

    def use_files(self, files: Files) -> None:
        """See `Teacher.use_files`."""
        self._files = files

    def content_id(self, image: NDArray[np.uint8]) -> str:
        """See `Teacher.content_id`."""
        return sha256(self._encoded(image[None])[0]).hexdigest()

    def describe(self) -> Description:
        """The description that follows from the configuration: no request to such a teacher is free."""
        return self._description

    def quota(self) -> Quota | None:
        """None: such a teacher does not state a quota."""
        return None

    def queries(self, since: float | None = None) -> Iterator[LoggedQuery] | None:  # noqa: ARG002 - there is no log
        """None: such a teacher has no readable log."""
        return None

    def buy(
        self,
        images: NDArray[np.uint8],
        *,
        description: Description,
        idempotency_key: str,
        outputs: tuple[str, ...] = ("logits",),
    ) -> Answer:
        """See `Teacher.buy`; for one image. The answer's `X-Model-Version`, if present, is part of its teacher id."""
        for text in outputs:
            _wanted(text)
        content, media_type = self._encoded(images)
        response = self._sender.buy(
            self._url,
            samples=1,
            repeats_are_free=description.repeats_are_free,
            content=content,
            headers={
                "Content-Type": media_type,
                "Accept": "application/json",
                "Idempotency-Key": f'"{idempotency_key}"',
            },
        )
        version = response.headers.get("x-model-version") or self._version
        raw = received(response, asked_of=self._source(self._version), answered_by=self._source(version))
        raw = replace(raw, headers={**raw.headers, SENT: sha256(content).hexdigest()})
        return self.read(
            raw, samples=len(images), description=description, idempotency_key=idempotency_key, outputs=outputs
        )

    def read(
        self,
        raw: RawAnswer,
        *,
        samples: int,  # noqa: ARG002 - always one
        description: Description,  # noqa: ARG002
        idempotency_key: str,  # noqa: ARG002 - such an answer does not repeat it
        outputs: tuple[str, ...] = ("logits",),
    ) -> Answer:
        """See `Teacher.read`."""

        def read(raw: RawAnswer) -> Answer:
            try:
                scores = _scores_of(
                    raw.content,
                    self._fields,
                    self._labels,
                    self._kind,
                    must_add_up_to_1=self._is_whole,
                )
                bought = {text: _largest(scores, _wanted(text)) for text in outputs}
            except (ValueError, RecursionError) as error:  # not JSON, too
                kind = {"content-type": raw.headers.get("content-type", "")}
                shown = shown_content(httpx.Response(200, headers=kind, content=raw.content))
                raise ValueError(f"{self._shown}: {error}, in the answer {shown!r}; check [teacher]") from error
            version = raw.headers.get("x-model-version") or self._version
            return Answer(bought, self._id(version), raw.headers.get("x-request-id"), raw)

        return read_paid(raw, read)

    def _id(self, version: str) -> str:
        return f"{self._source(version)}/{self._meaning}"

    def _source(self, version: str) -> str:
        size = "" if self._image_size is None else "/{}x{}".format(*self._image_size)
        return f"{self._shown}/{self._model}/{version}{'/file' if self._sends_files else ''}{size}"

    def _sent_in_words(self) -> str:
        what = "your own files" if self._sends_files else "the data set's pixels"
        if self._image_size is not None:
            return f"{what}, resized to {self._image_size[0]}x{self._image_size[1]} (height x width), as PNG"
        return f"{what}, {'as they are' if self._sends_files else 'as PNG'}"

    def _encoded(self, images: NDArray[np.uint8]) -> tuple[bytes, str]:
        """The file to send, and its media type. Raises `TeacherRefused`."""
        if len(images) != 1:
            raise TeacherRefused(f"expected one image in a request, grey or RGB, got {len(images)}; nothing was sent")
        try:
            files = self._files.get(sample_key(images[0])) if self._sends_files else None
            if files is None:
                return png_of_pixels(images[0], self._image_size)
            return own_file(files) if self._image_size is None else png_of_file(files, self._image_size)
        except DataError as error:
            raise TeacherRefused(f"{error}; nothing was sent") from error


def _meaning(labels: Mapping[str, int], fields: AnswerFields) -> str:
    """What an answer means: under other labels or fields, it is stored as another teacher's."""
    settings = json.dumps(labels, sort_keys=True)
    if fields != _PLAIN:
        settings += fields.model_dump_json()
    return sha256(settings.encode()).hexdigest()[:12]


def _wanted(text: str) -> OutputKind:
    kind = OutputKind.parse(text)
    if kind.k is None:
        raise TeacherRefused(f"expected top_k, the only output that this teacher sells, got {text!r}; nothing was sent")
    return kind


def _largest(scores: Mapping[int, float], kind: OutputKind) -> NDArray[np.float32]:
    """The k largest scores, `[1, k, (class, score)]`; of equal scores the lower class first."""
    best = sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))[: kind.k]
    if kind.k is None or len(best) < kind.k:
        raise ValueError(f"expected {kind.k} labels or more (teacher.top_k), got {len(best)}")
    return np.array([best], np.float32)


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
