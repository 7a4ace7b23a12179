"""What a request can be refused for.

    ServiceError
    ├── InvalidRequest        400   the body or its tensors are not what the model takes
    │   ├── QuotaTooLarge     400   a grant beyond what a quota may be
    │   └── TooManySamples    400   more samples than the key may ever ask at once
    ├── Unauthorized          401   no key, an unknown key, a revoked key
    ├── AdminDisabled         403   the service was started without an admin key
    ├── OutputNotAllowed      403   the key may not see an output that was asked for
    ├── NotFound              404   no such path
    │   ├── UnknownKey        404   no API key of this id
    │   └── UnknownModel      404   no such model or version
    ├── MethodNotAllowed      405
    ├── BodyTooSlow           408   the body did not come in time
    ├── RequestInProgress     409   the same Idempotency-Key is being answered now
    ├── KeyChanged            409   the key's terms changed while the request was looked at
    ├── NameTaken             409   a key of this name exists
    ├── AnswerExpired         410   the answer was kept for as long as was promised
    ├── BodyTooLarge          413
    ├── UnsupportedEncoding   415
    ├── IdempotencyMismatch   422   the same Idempotency-Key came with another payload
    ├── QuotaExceeded         429   the key's lifetime quota cannot pay for the request
    ├── RateLimited           429   the key asks faster than it may
    │   └── TooManyAtOnce     429   as many of its requests as may be are being answered
    ├── PredictionFailed      500   the model raised, or gave values that are not finite
    ├── InternalError         500   a defect of the service
    ├── Overloaded            503   too much is queued
    ├── Draining              503   the service is about to stop
    ├── Abandoned             503   the client hung up before the model took its images
    └── LedgerUnavailable     503   what cannot be counted is not answered

A refusal costs nothing. `retry_after_seconds` is set exactly where the same request may succeed later.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from inspect import cleandoc
from typing import Any, ClassVar, Final, Self

from shared import problem
from teacher_service.key_terms import KeyTerms
from teacher_service.quota import Quota
from teacher_service.rate_limit import Bucket

_KEY: Final = Quota("3f9a1c", "alice", limit=500, used=498, reserved=0)
"""Whose refusals the examples are."""
INVALID_KEY: Final = "The API key is unknown or revoked. Send a valid one as `Authorization: Bearer <key>`."


class ServiceError(Exception):
    """A refusal, with all that its problem document says."""

    status: ClassVar[int]
    kind: ClassVar[str]
    retry_after_seconds: int | None = None
    quota: Quota | None = None
    """How the key that asked stands, where the refusal knows."""

    def __init__(self, detail: str, **facts: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts

    @classmethod
    def meaning(cls) -> str:
        """What it means, in a sentence or two."""
        return " ".join(cleandoc(cls.__doc__ or "").partition("\n\n")[0].split())

    @classmethod
    def example(cls) -> Self:
        """One such refusal, as the documentation shows it."""
        return cls(cls.meaning())

    def document(self) -> dict[str, Any]:
        """The RFC 9457 problem, with the `error` string that Open Inference Protocol clients read."""
        return {
            "type": problem.TYPE_PREFIX + self.kind,
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "error": self.detail,
            **self.facts,
        }

    def headers(self) -> Mapping[str, str]:
        """What tells a client whether, and when, to try again."""
        if self.retry_after_seconds is None:
            return {}
        return {"Retry-After": str(self.retry_after_seconds)}


class InvalidRequest(ServiceError):
    """The body or its tensors are not what the model takes."""

    status, kind = 400, "invalid-request"


class QuotaTooLarge(InvalidRequest):
    """A grant beyond what a quota may be."""


class TooManySamples(InvalidRequest):
    """More samples in one request than the key's burst limit ever lets pass."""

    def __init__(self, quota: Quota, cost: int) -> None:
        most = quota.samples.per_minute if quota.samples else 0
        super().__init__(
            f"images.shape: this key may ask {most} samples a minute, so at most that many a request, got {cost}"
        )
        self.quota = quota

    @classmethod
    def example(cls) -> Self:
        """Of a key that may ask 60 samples a minute."""
        return cls(replace(_KEY, samples=Bucket(60)), cost=100)


class Unauthorized(ServiceError):
    """No key, an unknown key, or a revoked key: the answer does not say which of the last two."""

    status, kind = 401, "unauthorized"

    def headers(self) -> Mapping[str, str]:
        """How to authenticate."""
        return {"WWW-Authenticate": 'Bearer realm="teacher"'}


class AdminDisabled(ServiceError):
    """The service was started without TEACHER_ADMIN_KEY, so nobody may administer it over HTTP."""

    status, kind = 403, "admin-disabled"


class OutputNotAllowed(ServiceError):
    """The key may not see an output that was asked for."""

    status, kind = 403, problem.OUTPUT_NOT_ALLOWED


class NotFound(ServiceError):
    """No such path."""

    status, kind = 404, "not-found"


class UnknownModel(NotFound):
    """No such model, or not in that version."""

    kind = problem.UNKNOWN_MODEL


class UnknownKey(NotFound):
    """No API key of this id."""

    kind = "unknown-key"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"key_id: there is no key {key_id[:80]!r} in use; see `teacher-service keys list`")

    @classmethod
    def example(cls) -> Self:
        """Of an id that nobody has."""
        return cls("no-such-key")


class MethodNotAllowed(ServiceError):
    """The path exists, but not with this method."""

    status, kind = 405, "method-not-allowed"


class BodyTooSlow(ServiceError):
    """The body did not come in time."""

    status, kind = 408, "body-too-slow"

    def headers(self) -> Mapping[str, str]:
        """What is still on its way is not read: the connection ends."""
        return {"Connection": "close"}


class RequestInProgress(ServiceError):
    """The same Idempotency-Key is being answered now."""

    status, kind, retry_after_seconds = 409, "request-in-progress", 1


class KeyChanged(ServiceError):
    """The key's secret or terms are not those on which the request was let pass: look at the key again."""

    status, kind, retry_after_seconds = 409, "key-changed", 1

    def __init__(self) -> None:
        super().__init__("The API key was changed while the request was looked at. Nothing was charged; try again.")

    @classmethod
    def example(cls) -> Self:
        """The only one that there is."""
        return cls()


class NameTaken(ServiceError):
    """A key of this name exists already."""

    status, kind = 409, "name-taken"


class AnswerExpired(ServiceError):
    """The answer under this Idempotency-Key was charged, and kept for as long as was promised."""

    status, kind = 410, problem.ANSWER_EXPIRED

    def __init__(self, kept_until: float) -> None:
        until = datetime.fromtimestamp(kept_until, UTC).isoformat(timespec="seconds")
        super().__init__(
            f"Idempotency-Key: this request was answered and charged, and its answer was kept until {until}. Nothing "
            "was charged now; use a new key to buy it again."
        )

    @classmethod
    def example(cls) -> Self:
        """Of an answer that was kept until the last second of 2025."""
        return cls(datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())


class BodyTooLarge(ServiceError):
    """More bytes than the service accepts."""

    status, kind = 413, "body-too-large"


class UnsupportedEncoding(ServiceError):
    """A Content-Encoding that the service does not read."""

    status, kind = 415, "unsupported-encoding"


class IdempotencyMismatch(ServiceError):
    """The same Idempotency-Key came with another payload."""

    status, kind = 422, problem.IDEMPOTENCY_MISMATCH


class QuotaExceeded(ServiceError):
    """The key's lifetime quota cannot pay for the request: waiting does not help."""

    status, kind = 429, problem.QUOTA_EXCEEDED

    def __init__(self, quota: Quota, cost: int) -> None:
        super().__init__(
            f"The request costs {cost} samples, but {quota.remaining} of {quota.limit} remain (used {quota.used}, "
            f"reserved {quota.reserved}). Nothing was charged; ask for fewer, or for a larger quota.",
            limit=quota.limit,
            remaining=quota.remaining,
            cost=cost,
        )
        self.quota = quota

    @classmethod
    def example(cls) -> Self:
        """Of a key that has 2 samples left."""
        return cls(_KEY, cost=8)

    def headers(self) -> Mapping[str, str]:
        """No Retry-After: there is no time after which it would succeed."""
        return {"x-should-retry": "false"}


class RateLimited(ServiceError):
    """The key asks faster than it may: waiting helps."""

    status, kind = 429, problem.RATE_LIMITED

    def __init__(self, quota: Quota, limit: str, retry_after_seconds: int) -> None:
        super().__init__(f"Too fast: {limit}. Nothing was charged; try again in {max(1, retry_after_seconds)} s.")
        self.quota = quota
        self.retry_after_seconds = max(1, retry_after_seconds)

    @classmethod
    def example(cls) -> Self:
        """Of a key that may ask 60 samples a minute."""
        return cls(replace(_KEY, samples=Bucket(60)), "60 samples a minute", 3)


class TooManyAtOnce(RateLimited):
    """As many of the key's requests are being answered as may be at the same time."""

    def __init__(self, quota: Quota) -> None:
        most = quota.terms.max_concurrent
        super().__init__(quota, f"{quota.in_flight} requests are being answered, and at most {most} may", 1)

    @classmethod
    def example(cls) -> Self:
        """Of a key that may have 4 requests answered at a time."""
        return cls(replace(_KEY, terms=KeyTerms(max_concurrent=4), in_flight=4))


class PredictionFailed(ServiceError):
    """The model raised, or gave values that are not finite; nothing was charged."""

    status, kind = 500, "prediction-failed"


class InternalError(ServiceError):
    """A defect of the service."""

    status, kind = 500, "internal-error"


class Overloaded(ServiceError):
    """Too much is queued."""

    status, kind, retry_after_seconds = 503, "overloaded", 1


class Draining(ServiceError):
    """The service is about to stop, and begins nothing any more."""

    status, kind, retry_after_seconds = 503, "draining", 1

    def __init__(self) -> None:
        super().__init__("The service is about to stop and takes no new query. Nothing was charged; try again.")

    @classmethod
    def example(cls) -> Self:
        """The only one that there is."""
        return cls()


class Abandoned(ServiceError):
    """The client hung up before the model took its images; it never reads this."""

    status, kind, retry_after_seconds = 503, "abandoned", 1

    def __init__(self) -> None:
        super().__init__("The client hung up before the model took its images. Nothing was charged; try again.")

    @classmethod
    def example(cls) -> Self:
        """The only one that there is."""
        return cls()


class LedgerUnavailable(ServiceError):
    """The ledger cannot be reached or written: what cannot be counted is not answered."""

    status, kind, retry_after_seconds = 503, "ledger-unavailable", 2
