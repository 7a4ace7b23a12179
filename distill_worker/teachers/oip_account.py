"""Reads `GET /v1/quota`: what a server states of the account of an API key."""

from hashlib import sha256
from typing import Any, Final, Literal

from distill_worker.errors import TeacherError
from distill_worker.teachers.base import Quota, Rate
from distill_worker.teachers.http_errors import shown_text, status_of
from distill_worker.teachers.http_sender import PAYER_LENGTH, Sender

_PATH: Final = "/v1/quota"
_NO_ENDPOINT: Final = frozenset({400, 404, 405, 501})
"""Statuses of a path that the server does not have; 400 is Triton's. Any other, such as 401, is an error."""


def account(sender: Sender) -> dict[str, Any] | None:
    """What the server states of this account; None if there is no such endpoint. Raises `TeacherError`."""
    try:
        return sender.json(_PATH)
    except TeacherError as error:
        if status_of(error) in _NO_ENDPOINT:
            return None
        raise


def payer(stated: dict[str, Any]) -> str | None:
    """The id of the API key, which stays when its secret is rotated; hashed if it is too long. None if not stated."""
    key_id = stated.get("key_id")
    if not isinstance(key_id, str) or not key_id:
        return None
    is_short = len(key_id) <= PAYER_LENGTH and key_id.isascii() and key_id.isalnum()
    return key_id if is_short else sha256(key_id.encode()).hexdigest()[:PAYER_LENGTH]


def policy(stated: dict[str, Any]) -> str | None:
    """The outputs that this account has access to; None if the server does not state them."""
    outputs = stated.get("outputs")
    return outputs if isinstance(outputs, str) else None


def quota(sender: Sender) -> Quota | None:
    """The quota of this account; None if there is no such endpoint. Raises `TeacherError`."""
    body = account(sender)
    if body is None:
        return None
    try:
        features, name = body.get("features"), body.get("name")
        return Quota(
            int(body["limit"]),
            int(body["used"]),
            int(body["remaining"]),
            features if isinstance(features, bool) else None,
            _rates(body),
            name if isinstance(name, str) and name else None,
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise TeacherError(
            f"{sender.url}{_PATH}: expected limit, used and remaining, got {shown_text(str(body))}"
        ) from error


def _rates(body: dict[str, Any]) -> tuple[Rate, ...]:
    limits: dict[Literal["samples", "requests"], Any] = {
        "samples": body.get("samples_per_minute"),
        "requests": body.get("requests_per_minute"),
    }
    return tuple(
        Rate(unit, per_minute, int(limit["remaining"]))
        for unit, limit in limits.items()
        if limit is not None and (per_minute := int(limit["limit"])) > 0
    )
