"""A teacher as vendors sell it: each request is one image file, each answer the most likely labels with their scores.

    POST <url>, Content-Type: image/png  ->  [{"label": "cat", "score": 0.93}, {"label": "dog", "score": 0.05}, ...]

It sells `top_k:K`, where K is `teacher.top_k`, or the number of labels if that is smaller. An answer with more labels
is cut to its K largest; one with fewer is an error, because the rest is unknown.
"""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from io import BytesIO
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distill_worker.cache import RawAnswer
from distill_worker.errors import TeacherRefused
from distill_worker.teachers.base import Answer, Description, LoggedQuery, Quota, read_paid
from distill_worker.teachers.http_errors import public_url
from distill_worker.teachers.http_sender import Sender, received
from shared.output_kinds import TOP_K, OutputKind

_DEFAULT_DIGITS: Final = 2
"""The digits that scores are assumed to be rounded to, if `teacher.score_digits` is not set."""
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
        model_version: str | None = None,
        num_classes: int | None = None,
        repeats_are_free: bool = False,
    ) -> None:
        """`labels` is the class of each label, one label for a class at most; some classes may have none."""
        self.payer = self.credential = sender.credential
        self._sender = sender
        self._url = url
        self._shown = public_url(url)
        self._model = model
        self._labels = dict(labels)
        # Under other labels the same answers mean other classes: they are stored as another teacher's.
        self._meaning = sha256(json.dumps(labels, sort_keys=True).encode()).hexdigest()[:12]
        self._digits = score_digits
        self._version = model_version or _NO_VERSION
        classes = max(num_classes or 0, 1 + max(labels.values()))
        kind = OutputKind(TOP_K, min(top_k, len(labels)), score_digits)
        self._description = Description(
            id=self._id(self._version),
            image_shape=None,
            num_classes=classes,
            max_request_size=1,
            outputs={str(kind): kind.shape(classes)},
            repeats_are_free=repeats_are_free,
            may_lack_classes=True,
            source=self._source(self._version),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._sender.__exit__(kind, error, traceback)

    def stop(self) -> None:
        """See `Teacher.stop`."""
        self._sender.stop()

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
        response = self._sender.buy(
            self._url,
            samples=1,
            repeats_are_free=description.repeats_are_free,
            content=_png(images),
            headers={
                "Content-Type": "image/png",
                "Accept": "application/json",
                "Idempotency-Key": f'"{idempotency_key}"',
            },
        )
        version = response.headers.get("x-model-version") or self._version
        raw = received(response, asked_of=self._source(self._version), answered_by=self._source(version))
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
                scores = self._scores(json.loads(raw.content))
                bought = {text: _largest(scores, _wanted(text)) for text in outputs}
            except ValueError as error:  # not JSON, too
                start = raw.content[:200].decode(errors="replace")
                raise ValueError(f"{self._shown}: {error}, in the answer {start!r}; check [teacher]") from error
            version = raw.headers.get("x-model-version") or self._version
            return Answer(bought, self._id(version), raw.headers.get("x-request-id"), raw)

        return read_paid(raw, read)

    def _scores(self, body: Any) -> dict[int, float]:
        """The score of each class in an answer."""
        if not isinstance(body, list) or not all(isinstance(entry, dict) for entry in body):
            raise ValueError("expected a list of labels with scores, got something else")
        scores: dict[int, float] = {}
        for entry in body:
            label, score = entry.get("label"), entry.get("score")
            if not isinstance(label, str) or label not in self._labels:
                raise ValueError(f"expected a label of [teacher.labels], got {label!r}")
            if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
                raise ValueError(f"expected a score from 0 to 1 for {label!r}, got {json.dumps(score)[:40]}")
            if self._labels[label] in scores:
                raise ValueError(f"expected each label once, got {label!r} twice")
            scores[self._labels[label]] = float(score)
        digits = _DEFAULT_DIGITS if self._digits is None else self._digits
        if sum(scores.values()) > 1 + len(scores) * 0.5 * 10.0**-digits + 1e-6:
            raise ValueError(f"expected scores that add up to 1 at most, got {sum(scores.values()):.6g}")
        return scores

    def _id(self, version: str) -> str:
        return f"{self._source(version)}/{self._meaning}"

    def _source(self, version: str) -> str:
        return f"{self._shown}/{self._model}/{version}"


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


def _png(images: NDArray[np.uint8]) -> bytes:
    """The image as a lossless file.

    Raises:
        TeacherRefused: expected one image, grey or RGB.
    """
    if len(images) != 1 or images.shape[1] not in (1, 3):
        raise TeacherRefused(
            f"expected one image in a request, grey or RGB, got {len(images)} of {images.shape[1]} channels; nothing "
            "was sent"
        )
    pixels = np.ascontiguousarray(np.moveaxis(images[0], 0, -1))
    file = BytesIO()
    Image.fromarray(pixels[..., 0] if images.shape[1] == 1 else pixels).save(file, format="PNG")
    return file.getvalue()
