"""The interface of a teacher, and the values that it returns."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from distill_worker.cache import RawAnswer
from distill_worker.data.sent_images import Files
from distill_worker.errors import AnswerUnread
from distill_worker.teachers.http_errors import encoding_note


@dataclass(frozen=True)
class Description:
    """What a teacher states of itself."""

    id: str
    """Equal ids give equal outputs. Outputs of different ids are never mixed."""
    image_shape: tuple[int, int, int] | None
    """Channels, height, width; None if the teacher takes images of any shape."""
    num_classes: int
    max_request_size: int | None
    """Samples in a request, at most; None if the teacher states no limit."""
    outputs: Mapping[str, tuple[int, ...]] = field(hash=False)
    """The shape of one sample's output, by kind, of all kinds that it sells."""
    repeats_are_free: bool = True
    """Whether requests with the same Idempotency-Key are charged once."""
    class_names: tuple[str, ...] | None = None
    """In the order of its outputs; None if the teacher states none."""
    sends: str = ""
    """What is sent of an image, in words, if it is not the pixels alone."""
    source: str | None = None
    """The teacher apart from the settings by which its answers are read: answers of one source can be read again under
    other settings. None if the settings change nothing in what an answer means."""
    input_datatype: str | None = None
    """The datatype of the images that it takes, as the Open Inference Protocol names it; None if it states none."""
    channels: int | None = None
    """The channels of the images that it takes, also where their height and width are open; None if it states none."""
    states_classes: bool = True
    """Whether `num_classes` is the teacher's own statement; otherwise it comes from the configuration."""
    may_lack_classes: bool = False
    """Whether the data may have more classes than `num_classes`, which the teacher never answers."""

    @property
    def is_complete(self) -> bool:
        """Whether it states the shapes of images and outputs; otherwise the first answer shows whether they fit."""
        return self.image_shape is not None and self.states_classes


@dataclass(frozen=True)
class Answer:
    """The response to a paid request."""

    outputs: Mapping[str, NDArray[np.float32]]
    """By kind, float32 `[samples, ...]`."""
    teacher_id: str
    """The teacher that answered: not the described one, if it was replaced meanwhile."""
    query_id: str | None = None
    """The teacher's id of the request."""
    raw: RawAnswer | None = None
    """The response as it arrived, if it must be kept beside its outputs: other settings may read others from it."""


def read_paid(raw: RawAnswer, read: Callable[[RawAnswer], Answer]) -> Answer:
    """The answer that `read` makes of a paid response.

    Raises:
        AnswerUnread: `read` raised something; the error holds the response.
    """
    try:
        return read(raw)
    except Exception as error:  # whatever is wrong with it, it was paid
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise AnswerUnread(f"{reason}{encoding_note(raw.headers)}", raw) from error


@dataclass(frozen=True)
class Rate:
    """A rate limit: a burst of `per_minute`, which refills evenly within a minute."""

    unit: Literal["samples", "requests"]
    per_minute: int
    remaining: int
    """Samples or requests that would be admitted now."""


@dataclass(frozen=True)
class Quota:
    """The quota of an API key, in samples."""

    limit: int
    used: int
    remaining: int
    features: bool | None = None
    """Whether the key has access to intermediate features; None if the teacher does not state it."""
    rates: tuple[Rate, ...] = ()
    key_name: str | None = None
    """The name of the API key; None if the teacher does not state it."""

    def seconds_for(self, samples: int, requests: int) -> float:
        """The shortest time for so many samples in so many requests at the allowed rates."""
        cost = {"samples": samples, "requests": requests}
        return max(
            (60 * max(0, cost[rate.unit] - rate.remaining) / rate.per_minute for rate in self.rates), default=0.0
        )


@dataclass(frozen=True)
class LoggedQuery:
    """A request in the teacher's own log. Times are seconds since the epoch."""

    idempotency_key: str | None
    """None if the request had none. A released request frees its key, so several requests may have had it."""
    request_id: str
    """The teacher's id of the request: an answer's `query_id`."""
    samples: int
    outputs: tuple[str, ...]
    """The outputs in the request, by the teacher's names."""
    status: Literal["held", "settled", "released"]
    """In flight, charged, or not charged."""
    model_version: str
    created_at: float
    finished_at: float | None


class Teacher(Protocol):
    """A black box that answers images for money. All methods are thread-safe."""

    @property
    def payer(self) -> str:
        """The account that pays, in at most 16 characters that do not reveal the API key.

        The id of the API key if the teacher states it, which `describe` reads; otherwise a hash of the API key.
        """

    @property
    def credential(self) -> str:
        """A short hash of the API key; empty without one. Earlier versions recorded it as the payer."""

    def describe(self) -> Description:
        """The teacher's description of itself. Free. Raises `TeacherError`."""

    def quota(self) -> Quota | None:
        """The quota of the API key; None if this teacher does not state it. Free. Raises `TeacherError`."""

    def buy(
        self,
        images: NDArray[np.uint8],
        *,
        description: Description,
        idempotency_key: str,
        outputs: tuple[str, ...] = ("logits",),
    ) -> Answer:
        """Buy outputs of these kinds for images, uint8 `[samples, channels, height, width]`.

        It costs one call for each sample. Repeating it with the same key, images and outputs costs nothing if
        `description.repeats_are_free`.

        Raises:
            TeacherRefused: the request was rejected and not charged.
            AnswerUnread: the request was charged, and its answer cannot be read; the error holds the answer.
            AnswerExpired: the request was charged before, and its answer is no longer stored.
            TeacherStopped: `stop` was called; `unpaid` is False if an earlier attempt may have been charged.
            TeacherError: the request may have been charged; repeat it with the same key, images and outputs.
        """

    def read(
        self,
        raw: RawAnswer,
        *,
        samples: int,
        description: Description,
        idempotency_key: str,
        outputs: tuple[str, ...] = ("logits",),
    ) -> Answer:
        """Read a paid response, under the present settings. Free.

        Args:
            raw: a response to `buy`.
            samples: the number of images that were sent.
            description: the teacher's description of itself.
            idempotency_key: the key under which they were sent.
            outputs: the kinds to read.

        Raises:
            AnswerUnread: it cannot be read.
        """

    def use_files(self, files: Files) -> None:
        """Send these files in place of the images with these sample keys, if this teacher takes files."""

    def content_id(self, image: NDArray[np.uint8]) -> str | None:
        """The SHA-256 of what is sent of an image, uint8 `[channels, height, width]`; equal content is not sent twice.

        None if an answer depends on more than that. Raises `TeacherRefused` if nothing can be sent of it.
        """

    def stop(self) -> None:
        """Stop buying for good: waiting requests raise `TeacherStopped`, requests in flight finish.

        Any thread may call it. To go on, open a new client.
        """

    def queries(self, since: float | None = None) -> Iterator[LoggedQuery] | None:
        """The teacher's log of this account's requests since that time (seconds since the epoch), newest first.

        None if this teacher has no readable log. Requests that begin meanwhile may be absent. Free. Raises
        `TeacherError`, also while it is read.
        """
