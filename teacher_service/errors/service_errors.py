"""Every error that a request can get.

    ServiceError
    ├── InvalidRequest        400   the body, or a tensor in it, does not fit the model
    │   ├── QuotaTooLarge     400   a grant beyond the largest quota
    │   └── TooManySamples    400   more samples than one request of the key may have
    ├── Unauthorized          401   no key, an unknown key, a revoked or expired key
    ├── AdminDisabled         403   the service was started without an admin key
    ├── OutputNotAllowed      403   the key may not see a requested output
    ├── NotFound              404   no resource has this path
    │   ├── UnknownKey        404   no API key of this id
    │   └── UnknownModel      404   no such model or version
    ├── MethodNotAllowed      405
    ├── BodyTooSlow           408   the body did not arrive in time
    ├── HeadTooSlow           408   the headers did not arrive in time
    ├── RequestInProgress     409   the request of the same Idempotency-Key is in flight
    ├── KeyChanged            409   the key's terms changed during the request
    ├── NameTaken             409   a key with this name exists
    ├── AnswerExpired         410   the stored answer is past its retention time
    ├── BodyTooLarge          413
    ├── UnsupportedEncoding   415
    ├── IdempotencyMismatch   422   the Idempotency-Key was used with another payload
    ├── HeadTooLarge          431   the headers have too many bytes
    ├── QuotaExceeded         429   the key's lifetime quota does not cover the request
    ├── RateLimited           429   the key exceeds its rate limit
    │   └── TooManyAtOnce     429   the key has as many requests in flight as it may
    ├── PredictionFailed      500   the model raised, or returned values that are not finite
    ├── InternalError         500   a defect of the service
    ├── Overloaded            503   the queue of the model is full
    ├── Draining              503   the service is shutting down
    ├── Abandoned             503   the client disconnected before the model took its images
    └── LedgerUnavailable     503   the ledger cannot be read or written

An error costs nothing, with the exception that `LedgerUnavailable.cost` states. `retry_after_seconds` is set exactly
where the same request may succeed later.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from inspect import cleandoc
from typing import Any, ClassVar, Final, Self

from shared.oip import problem
from shared.times import iso
from teacher_service.policy.key_terms import KeyTerms
from teacher_service.policy.quota import Quota
from teacher_service.policy.rate_limit import Bucket

_KEY: Final = Quota("3f9a1c", "alice", limit=500, used=498, reserved=0)
"""The key of the examples."""
INVALID_KEY: Final = "The API key is unknown, revoked or expired. Send a valid one as `Authorization: Bearer <key>`."


class ServiceError(Exception):
    """A rejected request, with the contents of its problem document."""

    status: ClassVar[int]
    kind: ClassVar[str]
    remedy: ClassVar[str]
    """What the client can do about the error."""
    cost: ClassVar[str] = "nothing"
    """What the error costs, as the end of a sentence."""
    retry_after_seconds: int | None = None
    quota: Quota | None = None
    """The quota of the caller, where it was read."""

    def __init__(self, detail: str, **facts: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts

    @classmethod
    def meaning(cls) -> str:
        """The meaning of the error, in a sentence or two."""
        return " ".join(cleandoc(cls.__doc__ or "").partition("\n\n")[0].split())

    @classmethod
    def example(cls) -> Self:
        """An instance of the error, for the documentation."""
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
        """The headers that tell a client whether, and when, to retry."""
        if self.retry_after_seconds is None:
            return {}
        return {"Retry-After": str(self.retry_after_seconds)}


class InvalidRequest(ServiceError):
    """The body, or a tensor in it, does not fit the model."""

    status, kind = 400, "invalid-request"
    remedy = "Correct the field that `detail` names: `detail` says what was expected and what came."


class QuotaTooLarge(InvalidRequest):
    """A grant that would make the quota larger than the largest possible quota."""

    remedy = "Grant fewer samples, or create another key."


class TooManySamples(InvalidRequest):
    """More samples in one request than the key's rate limit allows in a minute."""

    remedy = "Split the request. `GET /v1/quota` shows the limit of a minute."

    def __init__(self, quota: Quota, cost: int) -> None:
        most = quota.samples.per_minute if quota.samples else 0
        super().__init__(
            f"images.shape: expected at most {most} samples, this key's limit a minute, got {cost}; split the request"
        )
        self.quota = quota

    @classmethod
    def example(cls) -> Self:
        """The error of a key with 60 samples a minute."""
        return cls(replace(_KEY, samples=Bucket(60)), cost=100)


class Unauthorized(ServiceError):
    """No key, or one that is unknown, revoked or expired. The response does not say which of these it is."""

    status, kind = 401, "unauthorized"
    remedy = (
        "Send the key as `Authorization: Bearer <key>` or `X-API-Key: <key>`. Replace a lost key "
        "with `teacher-service keys rotate`."
    )

    def headers(self) -> Mapping[str, str]:
        """The header that says how to authenticate."""
        return {"WWW-Authenticate": 'Bearer realm="teacher"'}


class AdminDisabled(ServiceError):
    """The service was started without TEACHER_ADMIN_KEY, so its admin API is disabled."""

    status, kind = 403, "admin-disabled"
    remedy = "Set TEACHER_ADMIN_KEY and restart the service, or run `teacher-service keys` beside the ledger."


class OutputNotAllowed(ServiceError):
    """The key may not see a requested output."""

    status, kind = 403, problem.OUTPUT_NOT_ALLOWED
    remedy = (
        "Request only outputs that the key may see (`outputs` in `GET /v1/quota`), or get a key that may see more from "
        "the operator."
    )


class NotFound(ServiceError):
    """No resource has this path."""

    status, kind = 404, "not-found"
    remedy = "Look the path up in `/openapi.json`."


class UnknownModel(NotFound):
    """The service has no model of this name and version."""

    kind = problem.UNKNOWN_MODEL
    remedy = "Use the name and version in `GET /v2/models/<name>`. The version changes with the weights."


class UnknownKey(NotFound):
    """No API key has this id."""

    kind = "unknown-key"
    remedy = "Use an id that `teacher-service keys list` shows."

    def __init__(self, key_id: str) -> None:
        super().__init__(f"key_id: there is no key {key_id[:80]!r} in use; see `teacher-service keys list`")

    @classmethod
    def example(cls) -> Self:
        """The error of an id that no key has."""
        return cls("no-such-key")


class MethodNotAllowed(ServiceError):
    """The path exists, but does not support this method."""

    status, kind = 405, "method-not-allowed"
    remedy = "Use a method from the `Allow` header of the response."


class BodyTooSlow(ServiceError):
    """The body did not arrive in time."""

    status, kind = 408, "body-too-slow"
    remedy = "Retry with fewer samples, or over a faster connection."

    def headers(self) -> Mapping[str, str]:
        """The rest of the request is not read, so the connection is closed."""
        return {"Connection": "close"}


class HeadTooSlow(ServiceError):
    """The request line and headers did not arrive in time."""

    status, kind = 408, "head-too-slow"
    remedy = "Retry, and send the request line and headers at once."

    def __init__(self, seconds: float) -> None:
        super().__init__(f"headers: expected all of them within {seconds:g} s, got fewer bytes; send the request again")

    @classmethod
    def example(cls) -> Self:
        """The error of a client that sends too slowly."""
        return cls(10)

    def headers(self) -> Mapping[str, str]:
        """The rest of the request is not read, so the connection is closed."""
        return {"Connection": "close"}


class RequestInProgress(ServiceError):
    """A request with the same Idempotency-Key is in flight."""

    status, kind, retry_after_seconds = 409, "request-in-progress", 1
    remedy = (
        "Wait for `Retry-After`, then retry with the same Idempotency-Key. The retry gets the answer, which is charged "
        "once."
    )


class KeyChanged(ServiceError):
    """The key's secret or terms changed while the request was checked."""

    status, kind, retry_after_seconds = 409, "key-changed", 1
    remedy = "Retry the request."

    def __init__(self) -> None:
        super().__init__("The API key changed while the request was checked. Nothing was charged; try again.")

    @classmethod
    def example(cls) -> Self:
        """The only instance."""
        return cls()


class NameTaken(ServiceError):
    """A key with this name exists already."""

    status, kind = 409, "name-taken"
    remedy = "Choose another name."


class AnswerExpired(ServiceError):
    """The answer of this Idempotency-Key was charged, and is past its retention time."""

    status, kind = 410, problem.ANSWER_EXPIRED
    remedy = (
        "Buy the answer again with a new Idempotency-Key. The operator can keep answers longer "
        "(TEACHER_ANSWER_RETENTION_HOURS)."
    )

    def __init__(self, kept_until: float) -> None:
        super().__init__(
            f"Idempotency-Key: this request was answered and charged, and its answer expired at {iso(kept_until)}. "
            "Nothing was charged now; use a new key to buy it again."
        )

    @classmethod
    def example(cls) -> Self:
        """The error of an answer that expired in the last second of 2025."""
        return cls(datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())


class BodyTooLarge(ServiceError):
    """The body has more bytes than the service accepts."""

    status, kind = 413, "body-too-large"
    remedy = "Send fewer samples in each request, or send binary tensors."


class UnsupportedEncoding(ServiceError):
    """The service does not support this Content-Encoding."""

    status, kind = 415, "unsupported-encoding"
    remedy = "Compress the body once, with gzip or deflate, or send it uncompressed."


class IdempotencyMismatch(ServiceError):
    """The Idempotency-Key was used before with another payload."""

    status, kind = 422, problem.IDEMPOTENCY_MISMATCH
    remedy = "Repeat the first payload of the key, or use a new key for this payload."


class HeadTooLarge(ServiceError):
    """The request line and headers have more bytes than the service accepts."""

    status, kind = 431, "headers-too-large"
    remedy = "Send fewer or shorter headers. A proxy in between may have added some."

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"headers: expected at most {max_bytes} bytes with the request line, got more")

    @classmethod
    def example(cls) -> Self:
        """The error with the default limit."""
        return cls(32 * 1024)

    def headers(self) -> Mapping[str, str]:
        """The rest of the request is not read, so the connection is closed."""
        return {"Connection": "close"}


class QuotaExceeded(ServiceError):
    """The key's lifetime quota does not cover the request. Do not retry."""

    status, kind = 429, problem.QUOTA_EXCEEDED
    remedy = "Send fewer samples, or get a larger quota from the operator (`teacher-service keys grant`)."

    def __init__(self, quota: Quota, cost: int) -> None:
        super().__init__(
            f"The request costs {cost} samples, but {quota.remaining} of {quota.limit} remain (used {quota.used}, "
            f"reserved {quota.reserved}). Nothing was charged; send fewer samples, or get a larger quota.",
            limit=quota.limit,
            remaining=quota.remaining,
            cost=cost,
        )
        self.quota = quota

    @classmethod
    def example(cls) -> Self:
        """The error of a key with 2 samples left."""
        return cls(_KEY, cost=8)

    def headers(self) -> Mapping[str, str]:
        """No Retry-After, because there is no time after which a retry is known to succeed."""
        return {"x-should-retry": "false"}


class RateLimited(ServiceError):
    """The key exceeds its rate limit. A later retry can succeed."""

    status, kind = 429, problem.RATE_LIMITED
    remedy = "Wait for `Retry-After`, then retry. The `RateLimit` header shows what remains of each limit."

    def __init__(self, quota: Quota, limit: str, retry_after_seconds: int) -> None:
        super().__init__(f"Too fast: {limit}. Nothing was charged; try again in {max(1, retry_after_seconds)} s.")
        self.quota = quota
        self.retry_after_seconds = max(1, retry_after_seconds)

    @classmethod
    def example(cls) -> Self:
        """The error of a key with 60 samples a minute."""
        return cls(replace(_KEY, samples=Bucket(60)), "the key may send 60 samples a minute, and 0 are left", 3)


class TooManyAtOnce(RateLimited):
    """The key has as many requests in flight as it may."""

    remedy = "Wait for the response to another request of the key, then retry."

    def __init__(self, quota: Quota) -> None:
        most = quota.terms.max_concurrent
        super().__init__(
            quota,
            f"expected at most {most} requests in flight, got one more than the {quota.in_flight} in flight now",
            1,
        )

    @classmethod
    def example(cls) -> Self:
        """The error of a key that may have 4 requests in flight."""
        return cls(replace(_KEY, terms=KeyTerms(max_concurrent=4), in_flight=4))


class PredictionFailed(ServiceError):
    """The model raised an error, or returned values that are not finite. Nothing was charged."""

    status, kind = 500, "prediction-failed"
    remedy = "Retry the request. If it fails again, report its `X-Request-Id` to the operator."


class InternalError(ServiceError):
    """The service has a defect."""

    status, kind = 500, "internal-error"
    remedy = "Retry with the same Idempotency-Key. If it fails again, report its `X-Request-Id` to the operator."


class Overloaded(ServiceError):
    """The queue of the model is full."""

    status, kind, retry_after_seconds = 503, "overloaded", 1
    remedy = "Wait for `Retry-After`, then retry."


class Draining(ServiceError):
    """The service is shutting down, and accepts no new query."""

    status, kind, retry_after_seconds = 503, "draining", 1
    remedy = "Retry: another replica, or this one after its restart, will answer."

    def __init__(self) -> None:
        super().__init__("The service is shutting down and accepts no new query. Nothing was charged; try again.")

    @classmethod
    def example(cls) -> Self:
        """The only instance."""
        return cls()


class Abandoned(ServiceError):
    """The client disconnected before the model took its images, so no client gets this response."""

    status, kind, retry_after_seconds = 503, "abandoned", 1
    remedy = "Retry, with a longer client timeout."

    def __init__(self) -> None:
        super().__init__("The client disconnected before the model took its images. Nothing was charged; try again.")

    @classmethod
    def example(cls) -> Self:
        """The only instance."""
        return cls()


class LedgerUnavailable(ServiceError):
    """The ledger cannot be read or written, so no query can be counted or answered."""

    status, kind, retry_after_seconds = 503, "ledger-unavailable", 2
    remedy = "Wait for `Retry-After`, then retry. The log of the service has the reason."
    cost = (
        "nothing, unless `detail` says that it is unknown whether the request was recorded. Then it may be charged; a "
        "retry under the same Idempotency-Key costs nothing more"
    )
