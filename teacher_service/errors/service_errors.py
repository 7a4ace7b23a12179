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
    ├── HeadTooSlow           408   the headers did not come in time
    ├── RequestInProgress     409   the same Idempotency-Key is being answered now
    ├── KeyChanged            409   the key's terms changed while the request was looked at
    ├── NameTaken             409   a key of this name exists
    ├── AnswerExpired         410   the answer was kept for as long as was promised
    ├── BodyTooLarge          413
    ├── UnsupportedEncoding   415
    ├── IdempotencyMismatch   422   the same Idempotency-Key came with another payload
    ├── HeadTooLarge          431   the headers have too many bytes
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
from shared.times import iso
from teacher_service.policy.key_terms import KeyTerms
from teacher_service.policy.quota import Quota
from teacher_service.policy.rate_limit import Bucket

_KEY: Final = Quota("3f9a1c", "alice", limit=500, used=498, reserved=0)
"""Whose refusals the examples are."""
INVALID_KEY: Final = "The API key is unknown or revoked. Send a valid one as `Authorization: Bearer <key>`."


class ServiceError(Exception):
    """A refusal, with all that its problem document says."""

    status: ClassVar[int]
    kind: ClassVar[str]
    remedy: ClassVar[str]
    """What whoever is refused does about it."""
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
    remedy = "Read `detail`, which names the field, what was expected and what came; mend the request."


class QuotaTooLarge(InvalidRequest):
    """A grant beyond what a quota may be."""

    remedy = "Grant less, or make another key."


class TooManySamples(InvalidRequest):
    """More samples in one request than the key's burst limit ever lets pass."""

    remedy = "Split the request; `GET /v1/quota` says what the key may ask in a minute."

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
    remedy = (
        "Send the key as `Authorization: Bearer <key>` or `X-API-Key: <key>`. A key that was lost is replaced "
        "by `teacher-service keys rotate`."
    )

    def headers(self) -> Mapping[str, str]:
        """How to authenticate."""
        return {"WWW-Authenticate": 'Bearer realm="teacher"'}


class AdminDisabled(ServiceError):
    """The service was started without TEACHER_ADMIN_KEY, so nobody may administer it over HTTP."""

    status, kind = 403, "admin-disabled"
    remedy = "Set TEACHER_ADMIN_KEY and start the service again, or use `teacher-service keys` where the ledger is."


class OutputNotAllowed(ServiceError):
    """The key may not see an output that was asked for."""

    status, kind = 403, problem.OUTPUT_NOT_ALLOWED
    remedy = "Ask for what the key may see (`outputs` in `GET /v1/quota`), or the operator for a key that may see more."


class NotFound(ServiceError):
    """No such path."""

    status, kind = 404, "not-found"
    remedy = "Look the path up in `/openapi.json`."


class UnknownModel(NotFound):
    """No such model, or not in that version."""

    kind = problem.UNKNOWN_MODEL
    remedy = "Take the name and the version that `GET /v2/models/<name>` says; a version changes with the weights."


class UnknownKey(NotFound):
    """No API key of this id."""

    kind = "unknown-key"
    remedy = "Take an id that `teacher-service keys list` shows."

    def __init__(self, key_id: str) -> None:
        super().__init__(f"key_id: there is no key {key_id[:80]!r} in use; see `teacher-service keys list`")

    @classmethod
    def example(cls) -> Self:
        """Of an id that nobody has."""
        return cls("no-such-key")


class MethodNotAllowed(ServiceError):
    """The path exists, but not with this method."""

    status, kind = 405, "method-not-allowed"
    remedy = "Use a method that the answer's `Allow` header names."


class BodyTooSlow(ServiceError):
    """The body did not come in time."""

    status, kind = 408, "body-too-slow"
    remedy = "Send it again, with fewer samples or over a faster connection."

    def headers(self) -> Mapping[str, str]:
        """What is still on its way is not read: the connection ends."""
        return {"Connection": "close"}


class HeadTooSlow(ServiceError):
    """The request's line and headers did not come in time."""

    status, kind = 408, "head-too-slow"
    remedy = "Send it again, in one go."

    def __init__(self, seconds: float) -> None:
        super().__init__(f"headers: expected all of them within {seconds:g} s; send the request again")

    @classmethod
    def example(cls) -> Self:
        """Of a client that dribbled."""
        return cls(10)

    def headers(self) -> Mapping[str, str]:
        """What is still on its way is not read: the connection ends."""
        return {"Connection": "close"}


class RequestInProgress(ServiceError):
    """The same Idempotency-Key is being answered now."""

    status, kind, retry_after_seconds = 409, "request-in-progress", 1
    remedy = (
        "Wait for `Retry-After`, then repeat the request with the same Idempotency-Key: it gets the answer, "
        "which is charged once."
    )


class KeyChanged(ServiceError):
    """The key's secret or terms are not those on which the request was let pass: look at the key again."""

    status, kind, retry_after_seconds = 409, "key-changed", 1
    remedy = "Repeat the request."

    def __init__(self) -> None:
        super().__init__("The API key was changed while the request was looked at. Nothing was charged; try again.")

    @classmethod
    def example(cls) -> Self:
        """The only one that there is."""
        return cls()


class NameTaken(ServiceError):
    """A key of this name exists already."""

    status, kind = 409, "name-taken"
    remedy = "Choose another name."


class AnswerExpired(ServiceError):
    """The answer under this Idempotency-Key was charged, and kept for as long as was promised."""

    status, kind = 410, problem.ANSWER_EXPIRED
    remedy = (
        "Buy the answer again under a new Idempotency-Key, or ask the operator to keep answers longer "
        "(TEACHER_ANSWER_RETENTION_HOURS)."
    )

    def __init__(self, kept_until: float) -> None:
        super().__init__(
            f"Idempotency-Key: this request was answered and charged, and its answer was kept until {iso(kept_until)}. "
            "Nothing was charged now; use a new key to buy it again."
        )

    @classmethod
    def example(cls) -> Self:
        """Of an answer that was kept until the last second of 2025."""
        return cls(datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())


class BodyTooLarge(ServiceError):
    """More bytes than the service accepts."""

    status, kind = 413, "body-too-large"
    remedy = "Send fewer samples a request, or tensors in binary."


class UnsupportedEncoding(ServiceError):
    """A Content-Encoding that the service does not read."""

    status, kind = 415, "unsupported-encoding"
    remedy = "Compress the body by gzip or deflate, once, or not at all."


class IdempotencyMismatch(ServiceError):
    """The same Idempotency-Key came with another payload."""

    status, kind = 422, problem.IDEMPOTENCY_MISMATCH
    remedy = "Repeat the payload that the key was used with, or use a new key for this one."


class HeadTooLarge(ServiceError):
    """The request's line and headers have more bytes than the service reads."""

    status, kind = 431, "headers-too-large"
    remedy = "Send shorter headers, and fewer; a proxy in between may add some."

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"headers: expected at most {max_bytes} bytes with the request line, got more")

    @classmethod
    def example(cls) -> Self:
        """Of the bound that there is."""
        return cls(32 * 1024)

    def headers(self) -> Mapping[str, str]:
        """What is still on its way is not read: the connection ends."""
        return {"Connection": "close"}


class QuotaExceeded(ServiceError):
    """The key's lifetime quota cannot pay for the request: waiting does not help."""

    status, kind = 429, problem.QUOTA_EXCEEDED
    remedy = "Ask for fewer samples, or the operator for more (`teacher-service keys grant`). Waiting does not help."

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
    remedy = "Wait for `Retry-After`; the `RateLimit` header says what is left before it comes to that."

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

    remedy = "Wait until one of the others is answered."

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
    remedy = "Repeat the request; should it fail again, tell the operator its `X-Request-Id`."


class InternalError(ServiceError):
    """A defect of the service."""

    status, kind = 500, "internal-error"
    remedy = (
        "Repeat the request with the same Idempotency-Key; should it fail again, tell the operator its `X-Request-Id`."
    )


class Overloaded(ServiceError):
    """Too much is queued."""

    status, kind, retry_after_seconds = 503, "overloaded", 1
    remedy = "Wait for `Retry-After`, then repeat the request."


class Draining(ServiceError):
    """The service is about to stop, and begins nothing any more."""

    status, kind, retry_after_seconds = 503, "draining", 1
    remedy = "Repeat the request: another service, or this one once it is started again, answers it."

    def __init__(self) -> None:
        super().__init__("The service is about to stop and takes no new query. Nothing was charged; try again.")

    @classmethod
    def example(cls) -> Self:
        """The only one that there is."""
        return cls()


class Abandoned(ServiceError):
    """The client hung up before the model took its images; it never reads this."""

    status, kind, retry_after_seconds = 503, "abandoned", 1
    remedy = "Repeat the request, and wait longer for its answer."

    def __init__(self) -> None:
        super().__init__("The client hung up before the model took its images. Nothing was charged; try again.")

    @classmethod
    def example(cls) -> Self:
        """The only one that there is."""
        return cls()


class LedgerUnavailable(ServiceError):
    """The ledger cannot be reached or written: what cannot be counted is not answered."""

    status, kind, retry_after_seconds = 503, "ledger-unavailable", 2
    remedy = "Wait for `Retry-After`, then repeat the request. The operator finds the reason in the log."
