"""The problem types (RFC 9457) that a client acts on: the last path segment of a problem's `type`."""

from typing import Final

QUOTA_EXCEEDED: Final = "quota-exceeded"
IDEMPOTENCY_MISMATCH: Final = "idempotency-key-reused"
OUTPUT_NOT_ALLOWED: Final = "output-not-allowed"
UNKNOWN_MODEL: Final = "unknown-model"
RATE_LIMITED: Final = "rate-limited"
ANSWER_EXPIRED: Final = "answer-expired"

TYPE_PREFIX: Final = "/problems/"


def type_of(problem: object) -> str:
    """The type's last path segment, or `""` when `problem` is not a problem document."""
    kind = problem.get("type") if isinstance(problem, dict) else None
    return kind.rsplit("/", 1)[-1] if isinstance(kind, str) else ""
