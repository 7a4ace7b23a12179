"""HTTP requests to a teacher, for every protocol: paced, retried where a retry costs nothing, with clear errors.

There is one retry layer, for named transient failures: no connection, a lost connection, 409 (a request with the same
key is in flight), 429 for rate (never for an exhausted quota), 502, 503, 504. It is capped in count and time, jittered,
and obeys Retry-After. If the teacher charges repeats, a request is retried only when the attempt before was certainly
not charged: no connection, 429, or 503 with a time to wait.
"""

import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from threading import TIMEOUT_MAX, Event
from types import TracebackType
from typing import Any, Self, cast

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception

from distill_worker.cache import RawAnswer
from distill_worker.errors import QuotaExhausted, TeacherError, TeacherRefused, TeacherStopped, TeacherUnavailable
from distill_worker.teachers.http_client import open_client, proxy_of
from distill_worker.teachers.http_errors import (
    encoding_note,
    error_from_failure,
    error_from_response,
    json_of,
    public_url,
    shown_content,
    status_of,
)
from distill_worker.teachers.pace.pacer import Pacer, Stopped, Turn, WaitTooLong
from distill_worker.teachers.pace.rate_limit_headers import Limits, limits, seconds_ahead, server_time

_MAX_ATTEMPTS = 30
_LONGEST_WAIT_SECONDS = 10.0
_LONGEST_PACED_WAIT_SECONDS = 120.0
"""The shortest time that a request waits for a rate limit before it gives up."""
_FREE_PATIENCE_SECONDS = 10.0
"""How long a free request is retried: its caller waits for it, and nothing is paid yet."""
_OVER_SECONDS = 0.25
"""A Retry-After of zero with its jitter: the teacher has no wish, so the wait grows as without one."""
PAYER_LENGTH = 16
"""Characters of a payer's name, at most."""
_KEPT_HEADERS = (
    "content-encoding",
    "content-type",
    "content-length",
    "date",
    "inference-header-content-length",
    "x-model-version",
    "x-request-id",
)
"""The headers of a paid response that are kept with it: reading needs them, or they identify it."""


def credential_of(api_key: str | None) -> str:
    """A short hash of the API key, which identifies the key without revealing it; empty without a key."""
    return sha256(api_key.encode()).hexdigest()[:PAYER_LENGTH] if api_key else ""


def received(response: httpx.Response, *, asked_of: str, answered_by: str) -> RawAnswer:
    """A paid response as it is kept."""
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    return RawAnswer(response.content, headers, asked_of, answered_by)


class Sender:
    """A client of one server. A context manager; safe to use from several threads."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None,
        timeout_seconds: float,
        give_up_after_seconds: float,
        most_at_once: int = 64,
        on_retry: Callable[[str], None] = lambda _: None,
        on_clock: Callable[[float], None] = lambda _: None,
        transport: httpx.BaseTransport | None = None,
        pacer: Pacer | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        """`on_clock` gets how many seconds the server's clock is ahead, by the Date of each response.

        `sleep` waits before a retry; by default until `stop` at the longest.

        Raises:
            ConfigError: see `open_client`.
        """
        self.credential = credential_of(api_key)
        self.url = public_url(url)
        """The URL for messages and names, without secrets."""
        address, _, self._query = url.partition("#")[0].partition("?")
        self._give_up_after_seconds = give_up_after_seconds
        self._on_retry = on_retry
        self._on_clock = on_clock
        self._stopped = Event()
        self._sleep = sleep or self._sleep_unless_stopped
        self._pacer = pacer or Pacer(most_at_once, max(give_up_after_seconds, _LONGEST_PACED_WAIT_SECONDS))
        self._proxy = "" if transport is not None else proxy_of(address)
        self._client = open_client(
            address.rstrip("/"),
            api_key=api_key,
            transport=transport,
            timeout=timeout_seconds,
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=most_at_once),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def stop(self) -> None:
        """Start no more paid requests, and end the waits for retries. See `Teacher.stop`."""
        self._stopped.set()
        self._pacer.stop()

    def buy(self, path: str, *, samples: int, repeats_are_free: bool, **request: Any) -> httpx.Response:
        """Send a POST that costs `samples` calls; its response.

        Raises:
            TeacherRefused: nothing was charged.
            TeacherStopped, AnswerExpired, TeacherUnavailable, TeacherError: see `distill_worker.errors`.
        """
        attempts = _Attempts(self._pacer.clock, self._give_up_after_seconds, repeats_are_free)

        def attempt() -> httpx.Response:
            return self._attempt(attempts, lambda: self._admitted(attempts, samples), "POST", path, **request)

        return self._retried(attempts, attempt)

    def json(self, path: str, **request: Any) -> dict[str, Any]:
        """The JSON object at a path that is free to read. Raises `TeacherError`."""
        attempts = _Attempts(self._pacer.clock, min(_FREE_PATIENCE_SECONDS, self._give_up_after_seconds))

        def attempt() -> httpx.Response:
            return self._attempt(attempts, self._pacer.begin_free, "GET", path, **request)

        response = self._retried(attempts, attempt)
        try:
            body = json_of(response)
        except ValueError as error:
            raise TeacherError(
                f"{self.url}{path}: expected JSON, got {shown_content(response)}{encoding_note(response.headers)}"
            ) from error
        if not isinstance(body, dict):
            raise TeacherError(f"{self.url}{path}: expected a JSON object, got {shown_content(response)}")
        return body

    def _sleep_unless_stopped(self, seconds: float) -> None:
        self._stopped.wait(min(seconds, TIMEOUT_MAX))

    def _retried(self, attempts: "_Attempts", attempt: Callable[[], httpx.Response]) -> httpx.Response:
        def report(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            self._on_retry(f"{error}; next attempt in {state.upcoming_sleep:.1f} s")

        retrying = Retrying(
            retry=retry_if_exception(_may_pass),
            stop=lambda state: self._stopped.is_set() or attempts.are_over(state),
            wait=_wait,
            before_sleep=report,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except QuotaExhausted:
            raise
        except TeacherRefused as error:
            if not attempts.may_be_charged:
                raise
            # An earlier attempt may have been charged and its answer lost, whatever happened to this one.
            raise TeacherError(str(error)) from error

    def _admitted(self, attempts: "_Attempts", samples: int) -> Turn:
        began = self._pacer.clock()
        try:
            return self._pacer.begin(samples)
        except WaitTooLong as error:
            raise TeacherUnavailable(
                f"{self.url}: the teacher's rate limit admits nothing for {error}",
                retry_after_seconds=error.seconds,
                unpaid=not attempts.may_be_charged,
            ) from error
        except Stopped as stopped:
            raise TeacherStopped(
                f"{self.url}: nothing more is sent to the teacher", unpaid=not attempts.may_be_charged
            ) from stopped
        finally:
            attempts.paced_seconds += self._pacer.clock() - began

    def _attempt(
        self, attempts: "_Attempts", begin: Callable[[], Turn], method: str, path: str, **request: Any
    ) -> httpx.Response:
        turn = begin()
        limits_now = Limits()
        failure: TeacherError | None = None
        try:
            response = self._request(method, path, **request)
            limits_now = limits(response.headers, server_time(response.headers))
            if (ahead := seconds_ahead(response.headers, time.time())) is not None:
                self._on_clock(ahead)
            failure = (
                None if response.is_success else error_from_response(self.url, response, turn.samples, self._proxy)
            )
        except TeacherError as error:
            failure = error
        finally:
            self._pacer.end(
                turn, limits_now, pushed_back=_pushes_back(failure), closed_for_seconds=_closed_for(failure)
            )
        if failure is not None:
            raise attempts.judged(failure)
        return response

    def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        target = self._with_query(path, request.pop("params", None))
        try:
            with self._client.stream(method, target, **request) as response:
                # Its Content-Encoding may be wrong, and it may be paid: the bytes are read before they are decoded.
                return _decoded(response, b"".join(cast("httpx.SyncByteStream", response.stream)))
        except (httpx.InvalidURL, httpx.RequestError) as error:
            raise error_from_failure(self.url, error, self._proxy) from error

    def _with_query(self, path: str, params: Mapping[str, Any] | None = None) -> str:
        """A path with the query of the server's URL added; a whole URL has its own query."""
        queries = [self._query if path.startswith("/") else "", str(httpx.QueryParams(params))]
        return "?".join(filter(None, [path, "&".join(filter(None, queries))]))


class _Attempts:
    """The attempts of one request: their time limit, and whether one of them may have been charged."""

    def __init__(self, clock: Callable[[], float], patience_seconds: float, repeats_are_free: bool = True) -> None:
        self._clock = clock
        self._began = clock()
        self._patience_seconds = patience_seconds
        self._repeats_are_free = repeats_are_free
        self.paced_seconds = 0.0
        """Time spent waiting for a rate limit. It does not count towards the time limit."""
        self.may_be_charged = False

    def are_over(self, state: RetryCallState) -> bool:
        """Whether the attempts reached their limit, or the next one would begin too late."""
        failing = self._clock() - self._began - self.paced_seconds
        return state.attempt_number >= _MAX_ATTEMPTS or failing + state.upcoming_sleep >= self._patience_seconds

    def judged(self, failure: TeacherError) -> TeacherError:
        """The failure of one attempt, in view of all attempts."""
        if not isinstance(failure, TeacherUnavailable):
            return failure
        if not failure.unpaid and not self._repeats_are_free:
            error = TeacherError(
                f"{failure}. The request may have been charged, and this teacher charges repeats, so it is not repeated"
            )
            error.__cause__ = failure
            return error
        self.may_be_charged |= not failure.unpaid
        failure.unpaid = not self.may_be_charged
        return failure


def _decoded(response: httpx.Response, raw: bytes) -> httpx.Response:
    """The response with its content. It keeps its Content-Encoding only if the content cannot be decoded."""
    headers = response.headers.copy()
    encoding = headers.pop("content-encoding", None)
    content = raw
    if encoding is not None:
        with suppress(httpx.DecodingError):
            content = httpx.Response(200, headers={"content-encoding": encoding}, content=raw).content
    whole = httpx.Response(response.status_code, headers=headers, content=content, request=response.request)
    if encoding is not None and content == raw:
        whole.headers["content-encoding"] = encoding
    return whole


def _may_pass(failure: BaseException) -> bool:
    return isinstance(failure, TeacherUnavailable) and not isinstance(failure, TeacherStopped)


def _pushes_back(failure: TeacherError | None) -> bool:
    """Whether the teacher is overloaded; a 409 concerns one request alone."""
    return isinstance(failure, TeacherUnavailable) and status_of(failure) != 409


def _closed_for(failure: TeacherError | None) -> float:
    if isinstance(failure, TeacherUnavailable) and status_of(failure) in (429, 503):
        return failure.retry_after_seconds or 0.0
    return 0.0


def _wait(state: RetryCallState) -> float:
    """The seconds in Retry-After; without them, or if they are over, at least a doubling wait with full jitter."""
    error = state.outcome.exception() if state.outcome else None
    seconds = error.retry_after_seconds if isinstance(error, TeacherUnavailable) else None
    if seconds is not None and seconds > _OVER_SECONDS:
        return seconds
    return random.uniform(0.05, min(_LONGEST_WAIT_SECONDS, 0.1 * 2.0**state.attempt_number))
