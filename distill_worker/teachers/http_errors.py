"""Errors from a teacher's HTTP responses: is the failure transient, for how long, and was the request charged.

`public_url` is the URL that messages show, without secrets. What a server sends is shown cut, on one line, and without
control characters; of an HTML page, the title.
"""

import random
import re
import ssl
from collections.abc import Iterator, Mapping
from html import unescape
from math import isfinite
from typing import Any, Final

import httpx

from distill_worker.errors import AnswerExpired, QuotaExhausted, TeacherError, TeacherRefused, TeacherUnavailable
from distill_worker.teachers.pace.rate_limit_headers import retry_after_seconds
from shared.oip import problem

_TRANSIENT_STATUSES = frozenset({409, 429, 502, 503, 504, 529})
_OVERLOADED: Final = frozenset({429, 529})
"""Statuses of a server that rejects a request because of how many there are."""
_NO_WORK: Final = frozenset({"model_not_found", "not_found_error", "insufficient_quota"})
"""Codes that vendors of models that chat give to errors before any work. None of them disproves an earlier charge."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NEVER_CHARGED = frozenset({400, 401, 402, 407, 413, 415}) | _REDIRECTS - {303}
"""Statuses about the content, the API key, the payment, the proxy or the address, sent before any work. A 403 or 404
may follow a charge; a 303 is the answer to a request that was carried out."""
_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_NO_TLS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"}
)
"""OpenSSL's reasons if the server does not speak TLS."""
_URL_PARTS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)?(?:[^/?#]*@)?([^?#]*)", re.DOTALL)
_TITLE: Final = re.compile(r"<(title|h1)\b[^>]*>(.*?)</\1", re.DOTALL | re.IGNORECASE)
_TAG: Final = re.compile(r"<[^>]*>")
_MOST_SHOWN: Final = 300
"""Characters of a response that a message shows."""
_PROXY_USER: Final = "Write the proxy in its variable as http://USER:PASSWORD@HOST:PORT"
_MISMATCHES: Final = frozenset({62, 64})
"""OpenSSL's codes if a certificate is of another host name or address."""


def public_url(url: str) -> str:
    """The URL without user, password, query and fragment, which may hold an API key, and without a final slash."""
    match = _URL_PARTS.match(url)
    return f"{match[1] or ''}{match[2]}".rstrip("/") if match else ""


def error_from_response(url: str, response: httpx.Response, samples: int = 0, proxy: str = "") -> TeacherError:
    """The error that an unsuccessful response to a request of so many samples stands for.

    `proxy` is what the request went through, in words; empty if it went straight to the server.
    """
    detail, kind, code = _problem(response)
    through = f" (through {proxy})" if proxy else ""
    message = f"{url}: {response.status_code} {detail}{through}{_advice(url, response, kind, samples)}"
    error: TeacherError
    if kind == problem.QUOTA_EXCEEDED:
        error = QuotaExhausted(message)
    elif kind == problem.OUTPUT_NOT_ALLOWED or code in _NO_WORK:
        error = TeacherRefused(message)
    elif kind == problem.ANSWER_EXPIRED:
        error = AnswerExpired(message)
    elif response.status_code in _TRANSIENT_STATUSES:
        seconds = retry_after_seconds(response.headers)
        seconds = _estimated_seconds(response) if seconds is None else seconds
        seconds = seconds if seconds is None else seconds + random.uniform(0, 0.25)
        unpaid = response.status_code in _OVERLOADED or (response.status_code == 503 and seconds is not None)
        error = TeacherUnavailable(message, retry_after_seconds=seconds, unpaid=unpaid)
    elif response.status_code in _NEVER_CHARGED:
        error = TeacherRefused(message)
    else:
        error = TeacherError(message)
    error.__cause__ = httpx.HTTPStatusError(message, request=response.request, response=response)
    return error


def error_from_failure(url: str, failure: httpx.InvalidURL | httpx.RequestError, proxy: str = "") -> TeacherError:
    """The error that a request without a readable response stands for; `proxy` as in `error_from_response`."""
    reason = shown_text(str(failure)) or type(failure).__name__
    if (certain := _error_before_sending(url, failure, reason, proxy)) is not None:
        return certain
    if isinstance(failure, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return TeacherError(f"{url}: expected a valid URL, got an invalid one ({reason}); check teacher.url")
    if isinstance(failure, httpx.LocalProtocolError):
        return TeacherError(f"{url}: expected valid HTTP, got an error ({reason}); check the API key and the server")
    hint = ""
    if isinstance(failure, httpx.RemoteProtocolError) and url.startswith("http://"):
        hint = "; if the server expects encryption, teacher.url must begin with https://"
    through = ""
    if proxy:
        through = f" through {proxy}"
        hint = f"{hint} Is the proxy right? If the server needs none, add it to NO_PROXY"
    return TeacherUnavailable(
        f"{url}: the teacher cannot be reached{through} ({reason}); is it running, and is teacher.url, or TEACHER_URL "
        f"in the environment, right?{hint}",
        unpaid=isinstance(failure, _NEVER_SENT),
    )


def status_of(error: TeacherError) -> int | None:
    """The status of the response that caused the error; None if no response did."""
    cause = error.__cause__
    return cause.response.status_code if isinstance(cause, httpx.HTTPStatusError) else None


def json_of(response: httpx.Response) -> Any:
    """The JSON in a response. Raises `ValueError` if there is none."""
    try:
        return response.json()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def encoding_note(headers: Mapping[str, str]) -> str:
    """What to add to a message about content that could not be decoded; empty for any other."""
    encoding = headers.get("content-encoding")
    if encoding is None:
        return ""
    return (
        f"; its Content-Encoding is {shown_text(encoding)}, and it cannot be decoded so: check the server, and the "
        "proxy before it"
    )


def shown_content(response: httpx.Response) -> str:
    """The content of a response for a message: the title of an HTML page, or the beginning of any other text."""
    text = response.text
    if "html" not in response.headers.get("content-type", "") and not text.lstrip().startswith("<"):
        return shown_text(text)
    title = _TITLE.search(text)
    return f"HTML page {shown_text(unescape(_TAG.sub(' ', title[2])))!r}" if title else "HTML page without a title"


def shown_text(text: str) -> str:
    """A text for a message: on one line, without control characters, and cut."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}..."


def _error_before_sending(url: str, failure: Exception, reason: str, proxy: str) -> TeacherRefused | None:
    """The error of a failure that is lasting and precedes the request, so that nothing was charged."""
    through = f" (through {proxy})" if proxy else ""
    for cause in _causes(failure):
        problem_of_tls = _tls_problem(cause, failure, proxy) if isinstance(cause, ssl.SSLError) else None
        if problem_of_tls is not None:
            expected, remedy = problem_of_tls
            return TeacherRefused(f"{url}: expected {expected}{through}. Nothing was sent. {remedy}")
    if isinstance(failure, httpx.ProxyError) and reason.startswith("407"):
        return TeacherRefused(
            f"{url}: {proxy or 'the proxy'} requires a user and password ({reason}). Nothing was sent. {_PROXY_USER}"
        )
    return None


def _tls_problem(cause: ssl.SSLError, failure: Exception, proxy: str) -> tuple[str, str] | None:
    """What was expected and came, and what to do, if a connection cannot be encrypted; None if a retry may help."""
    reason = cause.reason or ""
    if isinstance(cause, ssl.SSLCertVerificationError):
        got = f"({shown_text(cause.verify_message)})"
        if cause.verify_code in _MISMATCHES:
            return f"a certificate of this host, got that of another {got}", (
                "In teacher.url, write the server's name as in its certificate"
            )
        return f"a certificate that is trusted, got another {got}", (
            "If it is right, set SSL_CERT_FILE to the file of its authority (docs/reaching-a-teacher.md)"
        )
    if reason in _NO_TLS and isinstance(failure, httpx.ConnectError):
        or_proxy = f"; if {proxy} does, its variable must begin with http://" if proxy else ""
        return f"TLS, got another protocol ({shown_text(str(failure))})", (
            f"If the server speaks plain HTTP, teacher.url must begin with http://{or_proxy}"
        )
    if "ALERT" in reason and ("CERTIFICATE" in reason or "HANDSHAKE_FAILURE" in reason):
        return f"a server that accepts the connection, got a rejection of its TLS ({shown_text(str(failure))})", (
            "If the server requires a certificate of its clients, the worker cannot use it: it has none"
        )
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _advice(url: str, response: httpx.Response, kind: str, samples: int) -> str:
    """What to do about a status, beyond what the server says; begins with punctuation."""
    match response.status_code:
        case status if status in _REDIRECTS and "location" in response.headers:
            return _redirect(url, response)
        case 401 if not kind:
            return "; check the API key (TEACHER_API_KEY or TEACHER_API_KEY_FILE)"
        case 407:
            return f"; the proxy requires a user and password. {_PROXY_USER}"
        case 413:
            size = f"{len(response.request.content):,} bytes"
            if samples > 1:
                return f"; {samples} samples in {size} were sent: set teacher.request_size to less than {samples}"
            return f"; {size} were sent, with the smallest teacher.request_size; the server must allow larger requests"
    return ""


def _redirect(url: str, response: httpx.Response) -> str:
    """Where a response redirects to, and the setting that would reach it."""
    try:
        target = str(response.request.url.join(response.headers["location"]))
    except httpx.InvalidURL:
        target = response.headers["location"]
    shown, now = shown_text(_without_query(target)), _without_query(str(response.request.url))
    path = public_url(now).removeprefix(url)
    there = public_url(shown).removesuffix(path) if path else shown
    advice = f"If that is the teacher, set teacher.url (or TEACHER_URL) to {there}"
    if there == (url if path else now):
        advice = "No other teacher.url avoids that: the server must answer this path itself"
    return (
        f"; the server redirects to {shown}. Redirects are not followed, because the other server would get the "
        f"API key. {advice}"
    )


def _without_query(url: str) -> str:
    """The URL as `public_url` shows it, with a slash at its end if it has one."""
    return public_url(url) + ("/" if url.partition("#")[0].partition("?")[0].endswith("/") else "")


def _estimated_seconds(response: httpx.Response) -> float | None:
    """`estimated_time` in the body of a 503, sent by some servers while a model loads."""
    try:
        estimate = json_of(response)["estimated_time"] if response.status_code == 503 else None
        seconds = float(estimate) if isinstance(estimate, int | float) and not isinstance(estimate, bool) else -1.0
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    return seconds if isfinite(seconds) and seconds >= 0 else None


def _problem(response: httpx.Response) -> tuple[str, str, str]:
    """What the response says of the error, the type of its problem document, and the code that vendors give it."""
    try:
        body = json_of(response)
    except ValueError:
        return shown_content(response) or response.reason_phrase, "", ""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    detail = body.get("detail") or body.get("error") or body.get("message") if isinstance(body, dict) else None
    code = ""
    if isinstance(detail, dict):
        code = str(detail.get("code") or detail.get("type") or "")
        detail = detail.get("message") or detail
    return shown_text(str(detail or response.reason_phrase)), problem.type_of(body), code
