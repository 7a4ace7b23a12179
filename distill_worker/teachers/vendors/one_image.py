"""What the clients of vendors have in common: one image in a request, and a description that is configured.

Each knows how to put an image into a request, and what an answer says.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from types import TracebackType
from typing import Final, Self

import httpx
import numpy as np
from numpy.typing import NDArray

from distill_worker.cache import RawAnswer
from distill_worker.cache.raw_answers import SENT
from distill_worker.data.sent_images import Files, own_file, png_of_file, png_of_pixels
from distill_worker.errors import DataError, TeacherRefused
from distill_worker.teachers.base import Answer, Description, LoggedQuery, Quota, read_paid
from distill_worker.teachers.http_errors import public_url, shown_content
from distill_worker.teachers.http_sender import Sender, received
from shared.output_kinds import LABEL, TOP_K, OutputKind
from shared.sample_key import sample_key

_NO_VERSION: Final = "unversioned"


@dataclass(frozen=True)
class Vendor:
    """What is configured of a vendor's model."""

    url: str
    """That images are posted to."""
    model: str
    labels: Mapping[str, int]
    """The class of each label, one label for a class at most; some classes may have none."""
    sends_files: bool = False
    """Whether the user's own files are sent, see `use_files`."""
    image_size: tuple[int, int] | None = None
    """What the sent images are resized to."""
    model_version: str | None = None
    num_classes: int | None = None
    repeats_are_free: bool = False

    @property
    def classes(self) -> int:
        """The number of classes."""
        return max(self.num_classes or 0, 1 + max(self.labels.values()))


class OneImageTeacher(ABC):
    """A client of one such URL. A context manager; thread-safe."""

    def __init__(
        self, sender: Sender, vendor: Vendor, sold: Sequence[OutputKind], *, asked: str = "", read_by: str = ""
    ) -> None:
        """A client of this model.

        Args:
            sender: sends the requests.
            vendor: what is configured.
            sold: the kinds of output that an answer holds.
            asked: a part of the teacher's name: what is asked beside the image.
            read_by: settings by which answers are read, if they are not the usual ones: under others, an answer is
                stored as another teacher's.
        """
        self.payer = self.credential = sender.credential
        self._sender = sender
        self._vendor = vendor
        self._sold = tuple(sold)
        self._shown = public_url(vendor.url)
        self._asked = asked
        self._files: Files = {}
        settings = json.dumps(dict(vendor.labels), sort_keys=True) + read_by
        self._meaning = sha256(settings.encode()).hexdigest()[:12]
        self._version = vendor.model_version or _NO_VERSION
        self._description = Description(
            id=self._id(self._version),
            image_shape=None,
            num_classes=vendor.classes,
            max_request_size=1,
            outputs={str(kind): kind.shape(vendor.classes) for kind in sold},
            repeats_are_free=vendor.repeats_are_free,
            sends=self._sent_in_words(),
            may_lack_classes=True,
            source=self._source(self._version),
        )

    @abstractmethod
    def _request(self, image: bytes, media_type: str) -> tuple[bytes, str]:
        """The body of the request for an image file, and its Content-Type."""

    @abstractmethod
    def _scores(self, content: bytes, kind: OutputKind) -> Mapping[int, float]:
        """The score of each class that an answer states, from 0 to 1. Raises `ValueError` if it says something else."""

    @abstractmethod
    def _answered_version(self, headers: Mapping[str, str], content: bytes) -> str | None:
        """The version of the model that an answer states; None if it states none. Never raises."""

    def _remedy(self, error: TeacherRefused) -> str:  # noqa: ARG002 - a protocol may know one
        """What to do about a rejection, beyond what its message says; empty if nothing is known."""
        return ""

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
        """See `Teacher.buy`; for one image. The version that the answer states, if any, is part of its teacher id."""
        for text in outputs:
            self._wanted(text)
        image, media_type = self._encoded(images)
        content, content_type = self._request(image, media_type)
        try:
            response = self._sender.buy(
                self._vendor.url,
                samples=1,
                repeats_are_free=description.repeats_are_free,
                content=content,
                headers={
                    "Content-Type": content_type,
                    "Accept": "application/json",
                    "Idempotency-Key": f'"{idempotency_key}"',
                },
            )
        except TeacherRefused as error:
            if not (remedy := self._remedy(error)):
                raise
            raise TeacherRefused(f"{error}; {remedy}") from error.__cause__
        version = self._answered_version(response.headers, response.content) or self._version
        raw = received(response, asked_of=self._source(self._version), answered_by=self._source(version))
        raw = replace(raw, headers={**raw.headers, SENT: sha256(image).hexdigest()})
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
                kinds = {text: self._wanted(text) for text in outputs}
                bought = {text: _largest(self._scores(raw.content, kind), kind) for text, kind in kinds.items()}
            except (ValueError, RecursionError) as error:  # not JSON, too
                kind = {"content-type": raw.headers.get("content-type", "")}
                shown = shown_content(httpx.Response(200, headers=kind, content=raw.content))
                raise ValueError(f"{self._shown}: {error}, in the answer {shown!r}; check [teacher]") from error
            version = self._answered_version(raw.headers, raw.content) or self._version
            return Answer(bought, self._id(version), raw.headers.get("x-request-id"), raw)

        return read_paid(raw, read)

    def _id(self, version: str) -> str:
        return f"{self._source(version)}/{self._meaning}"

    def _source(self, version: str) -> str:
        vendor = self._vendor
        size = "" if vendor.image_size is None else "/{}x{}".format(*vendor.image_size)
        file = "/file" if vendor.sends_files else ""
        return f"{self._shown}/{vendor.model}/{version}{self._asked}{file}{size}"

    def _sent_in_words(self) -> str:
        vendor = self._vendor
        what = "your own files" if vendor.sends_files else "the data set's pixels"
        if vendor.image_size is not None:
            return f"{what}, resized to {vendor.image_size[0]}x{vendor.image_size[1]} (height x width), as PNG"
        return f"{what}, {'as they are' if vendor.sends_files else 'as PNG'}"

    def _encoded(self, images: NDArray[np.uint8]) -> tuple[bytes, str]:
        """The file to send, and its media type. Raises `TeacherRefused`."""
        if len(images) != 1:
            raise TeacherRefused(f"expected one image in a request, grey or RGB, got {len(images)}; nothing was sent")
        size = self._vendor.image_size
        try:
            files = self._files.get(sample_key(images[0])) if self._vendor.sends_files else None
            if files is None:
                return png_of_pixels(images[0], size)
            return own_file(files) if size is None else png_of_file(files, size)
        except DataError as error:
            raise TeacherRefused(f"{error}; nothing was sent") from error

    def _wanted(self, text: str) -> OutputKind:
        """The kind of output with this text. A kept answer may hold another number of classes than is sold now."""
        kind = OutputKind.parse(text)
        names = list(dict.fromkeys(sold.name for sold in self._sold))
        if kind.name not in names:
            raise TeacherRefused(
                f"expected {' or '.join(names)}, which is all that this teacher sells, got {text!r}; nothing was sent"
            )
        return kind


def _largest(scores: Mapping[int, float], kind: OutputKind) -> NDArray[np.float32]:
    """The k largest scores, `[1, k, (class, score)]`, or the label, `[1, 1]`; of equal scores the lower class first."""
    best = sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))
    if kind.name == LABEL:
        return np.array([[best[0][0]]], np.float32)
    best = best[: kind.k]
    if kind.name != TOP_K or kind.k is None or len(best) < kind.k:
        raise ValueError(f"expected {kind.k} labels or more (teacher.top_k), got {len(best)}")
    return np.array([best], np.float32)
