"""What a teacher is to the rest of the worker."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Description:
    """A teacher as it is now."""

    id: str
    """Equal ids give equal outputs: what was bought under one id is never mixed with another's."""
    image_shape: tuple[int, int, int] | None
    """Channels, height, width; None where images of any shape are taken."""
    num_classes: int
    max_request_size: int | None
    """Samples a request may hold, when the teacher says."""
    outputs: Mapping[str, tuple[int, ...]] = field(hash=False)
    """The shape of one sample's output, by kind, of all that it offers."""
    repeats_are_free: bool = True
    """Whether a request that is repeated under its Idempotency-Key is charged once."""


@dataclass(frozen=True)
class Answer:
    """What was paid for."""

    outputs: Mapping[str, NDArray[np.float32]]
    """By kind, float32 `[samples, ...]`."""
    teacher_id: str
    """Who answered: another teacher than the one that was described, if it was replaced meanwhile."""
    query_id: str | None = None
    """What the teacher calls the request."""


@dataclass(frozen=True)
class Rate:
    """How fast a key may ask: so many at once, which come back evenly in a minute."""

    unit: Literal["samples", "requests"]
    per_minute: int
    remaining: int
    """That would be admitted now."""


@dataclass(frozen=True)
class Quota:
    """What the key may still ask, in samples."""

    limit: int
    used: int
    remaining: int
    features: bool | None = None
    """Whether the key may see intermediate features, when the teacher says."""
    rates: tuple[Rate, ...] = ()

    def seconds_for(self, samples: int, requests: int) -> float:
        """How long so many samples in so many requests take, at the rates that are allowed."""
        asked = {"samples": samples, "requests": requests}
        return max(
            (60 * max(0, asked[rate.unit] - rate.remaining) / rate.per_minute for rate in self.rates), default=0.0
        )


@dataclass(frozen=True)
class LoggedQuery:
    """A request as the teacher's own log has it. Times are seconds since the epoch."""

    idempotency_key: str | None
    """None where none came with it. A request that was released gave its key back: several may have had it."""
    request_id: str
    """What the teacher calls it: an answer's `query_id`."""
    samples: int
    outputs: tuple[str, ...]
    """What was asked for, as the teacher names it."""
    status: Literal["held", "settled", "released"]
    """Being answered, charged, not charged."""
    model_version: str
    created_at: float
    finished_at: float | None


class Teacher(Protocol):
    """A black box that answers images for money. Its methods may be called from several threads."""

    @property
    def payer(self) -> str:
        """The account that pays, as at most 16 characters that do not give the API key away."""

    def describe(self) -> Description:
        """Free. Raises `TeacherError`."""

    def quota(self) -> Quota | None:
        """Free; None when this teacher does not tell. Raises `TeacherError`."""

    def buy(
        self,
        images: NDArray[np.uint8],
        *,
        description: Description,
        idempotency_key: str,
        outputs: tuple[str, ...] = ("logits",),
    ) -> Answer:
        """The outputs asked for, of uint8 `[samples, channels, height, width]`.

        Costs one call a sample. Repeating it with the same key, images and outputs costs nothing more, where the
        description says so.

        Raises:
            TeacherRefused: nothing was charged.
            AnswerExpired: it was charged before, and its answer is kept no more.
            TeacherStopped: it was stopped; `unpaid` says whether an earlier attempt may have been charged.
            TeacherError: whether it was charged is not known; repeat it with the same key and images.
        """

    def stop(self) -> None:
        """Buy nothing more: whatever waits for its turn raises `TeacherStopped`, what is in flight is finished.

        For good, and from any thread; a new connection is made to go on.
        """

    def queries(self, since: float | None = None) -> Iterator[LoggedQuery] | None:
        """What this account asked from that time on (seconds since the epoch), newest first, as the teacher logged it.

        Free; None when this teacher keeps no log that can be read. Queries that are begun meanwhile may be absent.
        Raises `TeacherError`, on the way too.
        """
