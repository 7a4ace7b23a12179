"""Errors from a teacher's HTTP responses: is the failure transient, for how long, and was the request charged.

`public_url` is the URL that messages show, without secrets.
"""

import random
import re
import time
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Final

import httpx

from distill_worker.errors import AnswerExpired, QuotaExhausted, TeacherError, TeacherRefused, TeacherUnavailable
from shared import problem

_TRANSIENT_STATUSES = frozenset({409, 429, 502, 503, 504})
_NEVER_CHARGED = frozenset({400, 401, 413, 415})
"""Statuses about the content or the API key, which a server sends before any work. A 403 or 404 may follow a charge."""
_URL_PARTS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)?(?:[^/?#]*@)?([^?#]*)", re.DOTALL)


def public_url(url: str) -> str:
    """The URL without user, password, query and fragment, which may hold an API key, and without a final slash."""
    match = _URL_PARTS.match(url)
    return f"{match[1] or ''}{match[2]}".rstrip("/") if match else ""


def error_from_response(url: str, response: httpx.Response) -> TeacherError:
    """The error that an unsuccessful response stands for."""
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
        seconds = _retry_after_seconds(response)
        seconds = seconds if seconds is None else seconds + random.uniform(0, 0.25)
        unpaid = response.status_code == 429 or (response.status_code == 503 and seconds is not None)
        error = TeacherUnavailable(message, retry_after_seconds=seconds, unpaid=unpaid)
    elif response.status_code in _NEVER_CHARGED:
        error = TeacherRefused(message)
    else:
        error = TeacherError(message)
    error.__cause__ = httpx.HTTPStatusError(message, request=response.request, response=response)
    return error


def status_of(error: TeacherError) -> int | None:
    """The status of the response that caused the error; None if no response did."""
    cause = error.__cause__
    return cause.response.status_code if isinstance(cause, httpx.HTTPStatusError) else None


def _retry_after_seconds(response: httpx.Response) -> float | None:
    """The value of Retry-After, or `estimated_time` in the body of a 503, sent by some servers while a model loads."""
    value = response.headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        pass
    try:
        estimate = response.json()["estimated_time"] if response.status_code == 503 else None
        seconds = float(estimate) if isinstance(estimate, int | float) and not isinstance(estimate, bool) else -1.0
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    return seconds if isfinite(seconds) and seconds >= 0 else None


def _problem(response: httpx.Response) -> tuple[str, str]:
    try:
        body = response.json()
    except ValueError:
        return response.text[:200] or response.reason_phrase, ""
    detail = body.get("detail") or body.get("error") if isinstance(body, dict) else None
    return str(detail or response.reason_phrase), problem.type_of(body)
