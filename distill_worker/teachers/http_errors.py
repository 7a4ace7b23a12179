"""What a teacher's refusal says: whether it may pass, when, and whether anything was charged."""

import random
import time
from email.utils import parsedate_to_datetime
from math import isfinite

import httpx

from distill_worker.errors import AnswerExpired, QuotaExhausted, TeacherError, TeacherRefused, TeacherUnavailable
from shared import problem

_TRANSIENT_STATUSES = frozenset({409, 429, 502, 503, 504})
_NEVER_CHARGED = frozenset({400, 401, 413, 415})
"""What a server says of the content, or of who asks, before it looks further. A 403 or 404 may follow a charge."""


def refusal(url: str, response: httpx.Response) -> TeacherError:
    """What an answer that is no success says of the request, and of its charge."""
    detail, kind = _problem(response)
    message = f"{url}: {response.status_code} {detail}"
    error: TeacherError
    if kind == problem.QUOTA_EXCEEDED:
        error = QuotaExhausted(message)
    elif kind == problem.OUTPUT_NOT_ALLOWED:
        error = TeacherRefused(message)
    elif kind == problem.ANSWER_EXPIRED:
        error = AnswerExpired(message)
    elif response.status_code in _TRANSIENT_STATUSES:
        told = _retry_after_seconds(response)
        told = told if told is None else told + random.uniform(0, 0.25)
        unpaid = response.status_code == 429 or (response.status_code == 503 and told is not None)
        error = TeacherUnavailable(message, retry_after_seconds=told, unpaid=unpaid)
    elif response.status_code in _NEVER_CHARGED:
        error = TeacherRefused(message)
    else:
        error = TeacherError(message)
    error.__cause__ = httpx.HTTPStatusError(message, request=response.request, response=response)
    return error


def status_of(error: TeacherError) -> int | None:
    """What the server answered with, where an answer of its own was the failure."""
    cause = error.__cause__
    return cause.response.status_code if isinstance(cause, httpx.HTTPStatusError) else None


def _retry_after_seconds(response: httpx.Response) -> float | None:
    """What Retry-After says; or `estimated_time` in a 503's body, as of a model that is being loaded."""
    value = response.headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        pass
    try:
        said = response.json()["estimated_time"] if response.status_code == 503 else None
        seconds = float(said) if isinstance(said, int | float) and not isinstance(said, bool) else -1.0
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    return seconds if isfinite(seconds) and seconds >= 0 else None


def _problem(response: httpx.Response) -> tuple[str, str]:
    try:
        body = response.json()
    except ValueError:
        return response.text[:200] or response.reason_phrase, ""
    said = body.get("detail") or body.get("error") if isinstance(body, dict) else None
    return str(said or response.reason_phrase), problem.type_of(body)
