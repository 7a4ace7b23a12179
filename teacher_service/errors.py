"""What a request can be refused for.

    ServiceError
    ├── InvalidRequest        400   the body or its tensors are not what the model takes
    │   └── QuotaTooLarge     400   a grant beyond what a quota may be
    ├── Unauthorized          401   no key, an unknown key, a revoked key
    ├── OutputNotAllowed      403   the key may not see an output that was asked for
    ├── NotFound              404   no such path
    │   ├── UnknownKey        404   no API key of this id
    │   └── UnknownModel      404   no such model or version
    ├── MethodNotAllowed      405
    ├── RequestInProgress     409   the same Idempotency-Key is being answered now
    ├── NameTaken             409   a key of this name exists
    ├── BodyTooLarge          413
    ├── UnsupportedEncoding   415
    ├── IdempotencyMismatch   422   the same Idempotency-Key came with another payload
    ├── QuotaExceeded         429   the key's lifetime quota cannot pay for the request
    ├── PredictionFailed      500   the model raised, or gave values that are not finite
    ├── InternalError         500   a defect of the service
    ├── Overloaded            503   too much is queued
    └── LedgerUnavailable     503   what cannot be counted is not answered

A refusal costs nothing. `retry_after_seconds` is set exactly where the same request may succeed later.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Final

from shared import problem
from teacher_service.quota import Quota

INVALID_KEY: Final = "The API key is unknown or revoked. Send a valid one as `Authorization: Bearer <key>`."


class ServiceError(Exception):
    """A refusal, with all that its problem document says."""

    status: ClassVar[int]
    kind: ClassVar[str]
    retry_after_seconds: ClassVar[int | None] = None

    def __init__(self, detail: str, **facts: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts

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


class Unauthorized(ServiceError):
    """No key, an unknown key, or a revoked key: the answer does not say which of the last two."""

    status, kind = 401, "unauthorized"

    def headers(self) -> Mapping[str, str]:
        """How to authenticate."""
        return {"WWW-Authenticate": 'Bearer realm="teacher"'}


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


class MethodNotAllowed(ServiceError):
    """The path exists, but not with this method."""

    status, kind = 405, "method-not-allowed"


class RequestInProgress(ServiceError):
    """The same Idempotency-Key is being answered now."""

    status, kind, retry_after_seconds = 409, "request-in-progress", 1


class NameTaken(ServiceError):
    """A key of this name exists already."""

    status, kind = 409, "name-taken"


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

    def headers(self) -> Mapping[str, str]:
        """No Retry-After: there is no time after which it would succeed."""
        return {"x-should-retry": "false"}


class PredictionFailed(ServiceError):
    """The model raised, or gave values that are not finite; nothing was charged."""

    status, kind = 500, "prediction-failed"


class InternalError(ServiceError):
    """A defect of the service."""

    status, kind = 500, "internal-error"


class Overloaded(ServiceError):
    """Too much is queued."""

    status, kind, retry_after_seconds = 503, "overloaded", 1


class LedgerUnavailable(ServiceError):
    """The ledger cannot be reached or written: what cannot be counted is not answered."""

    status, kind, retry_after_seconds = 503, "ledger-unavailable", 2
