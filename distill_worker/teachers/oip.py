"""A teacher behind the Open Inference Protocol v2: ours, or any server that speaks it.

One retry layer, for named failures that may pass: no connection, a connection lost half-way, 409 (the same key is
being answered), 429 for rate (never for an exhausted quota), 502, 503, 504. It is capped in count and time, jittered,
and obeys Retry-After.
"""

import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
from numpy.typing import NDArray
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, stop_before_delay

from distill_worker.errors import QuotaExhausted, TeacherError, TeacherRefused, TeacherUnavailable
from distill_worker.teachers.base import Answer, Description, LoggedQuery, Quota
from shared import oip, problem

_MAX_ATTEMPTS = 30
_LONGEST_WAIT_SECONDS = 10.0
_QUESTION_PATIENCE_SECONDS = 10.0
"""How long a question that costs nothing is retried: whoever asks is waiting, and has nothing to lose yet."""
_TRANSIENT_STATUSES = frozenset({409, 429, 502, 503, 504})
_LOG_PAGE = 1000
"""Queries asked for at a time: what a page of ours may hold."""
_FLOATING = frozenset({"FP16", "FP32", "FP64"})
_CONTENT_REFUSALS = frozenset({400, 413, 415})
"""What a server says of the content itself, so it never charged for it. A 401 or 404 may follow a charge."""


class OipTeacher:
    """A client of one model on one server. A context manager; safe to use from several threads."""

    def __init__(
        self,
        url: str,
        *,
        model: str,
        api_key: str | None,
        timeout_seconds: float,
        give_up_after_seconds: float,
        on_retry: Callable[[str], None] = lambda _: None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.payer = sha256(api_key.encode()).hexdigest()[:16] if api_key else ""
        self._url = url.rstrip("/")
        self._model = model
        self._give_up_after_seconds = give_up_after_seconds
        self._on_retry = on_retry
        self._sleep = sleep
        self._client = httpx.Client(base_url=self._url, headers=headers, timeout=timeout_seconds, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def is_ready(self) -> bool:
        """Whether the server would answer now; asks once."""
        try:
            return self._client.get("/v2/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def describe(self) -> Description:
        """The model's identity and shapes, as its metadata say."""
        server = self._json("GET", "/v2")
        metadata = self._json("GET", f"/v2/models/{self._model}")
        try:
            version = str(metadata["versions"][-1])
            channels, height, width = (int(size) for size in _tensor(metadata["inputs"], "images")["shape"][1:])
            num_classes = int(_tensor(metadata["outputs"], "logits")["shape"][-1])
            outputs = {"logits": (num_classes,), **_offered(metadata["outputs"])}
            largest = (metadata.get("parameters") or {}).get("max_batch_size")
            max_request_size = int(largest) if largest is not None and int(largest) > 0 else None
            is_fingerprint = oip.FINGERPRINT_EXTENSION in server.get("extensions", [])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, StopIteration) as error:
            raise TeacherError(
                f"{self._url}: expected model {self._model!r} to take `images` [N, C, H, W] and give `logits` "
                f"[N, classes], got {str(metadata)[:300]}"
            ) from error
        # A version that is a fingerprint names the same teacher wherever it is served; any other only at this address.
        identity = version if is_fingerprint else f"{self._url}/{self._model}/{version}"
        return Description(identity, (channels, height, width), num_classes, max_request_size, outputs)

    def quota(self) -> Quota | None:
        """What `GET /v1/quota` says; None where there is no such endpoint."""
        try:
            body = self._json("GET", "/v1/quota")
        except TeacherError as error:
            if _status(error) == 404:
                return None
            raise
        try:
            features = body.get("features")
            return Quota(
                int(body["limit"]),
                int(body["used"]),
                int(body["remaining"]),
                features if isinstance(features, bool) else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TeacherError(f"{self._url}/v1/quota: expected limit, used and remaining, got {body}") from error

    def buy(
        self,
        images: NDArray[np.uint8],
        *,
        description: Description,
        idempotency_key: str,
        outputs: tuple[str, ...] = ("logits",),
    ) -> Answer:
        """See `Teacher.buy`. The request names the version, so a changed model refuses instead of answering."""
        body = oip.encode_request({"images": images}, outputs=outputs, request_id=idempotency_key)
        version = description.id.rsplit("/", 1)[-1]
        response = self._send(
            "POST",
            f"/v2/models/{self._model}/versions/{version}/infer",
            patience_seconds=self._give_up_after_seconds,
            content=body.content,
            headers={**body.headers, "Idempotency-Key": f'"{idempotency_key}"'},
        )
        try:
            head, tensors = oip.decode_response(response.content, response.headers.get(oip.HEADER_LENGTH))
            answered = {output: tensors[output] for output in outputs}
        except (oip.ProtocolError, KeyError) as error:
            raise TeacherError(f"{self._url}: the answer cannot be read ({error}); it was not kept") from error
        if head.id not in (None, idempotency_key) or head.model_version not in (None, "", version):
            raise TeacherError(
                f"{self._url}: expected the answer of version {version} to request {idempotency_key}, got that of "
                f"version {head.model_version} to request {head.id}; it was not kept"
            )
        # What is not offered any more was offered when this purchase began, and its answer is kept for it.
        checked = {
            output: self._checked(output, values, (len(images), *description.outputs.get(output, values.shape[1:])))
            for output, values in answered.items()
        }
        return Answer(checked, description.id, response.headers.get("x-request-id"))

    def queries(self, since: float | None = None) -> Iterator[LoggedQuery] | None:
        """What `GET /v1/queries` tells, page by page; None where there is no such endpoint."""
        try:
            first = self._page(since, None)
        except TeacherError as error:
            if _status(error) == 404:
                return None
            raise
        return self._pages(first, since)

    def _pages(self, page: tuple[list[LoggedQuery], int | None], since: float | None) -> Iterator[LoggedQuery]:
        queries, cursor = page
        yield from queries
        while cursor is not None:
            queries, cursor = self._page(since, cursor)
            yield from queries

    def _page(self, since: float | None, cursor: int | None) -> tuple[list[LoggedQuery], int | None]:
        asked: dict[str, Any] = {"limit": _LOG_PAGE}
        if since is not None:
            asked["since"] = datetime.fromtimestamp(since, UTC).isoformat()
        if cursor is not None:
            asked["cursor"] = cursor
        body = self._json("GET", "/v1/queries", params=asked)
        try:
            following = body["next"]
            return [_logged(query) for query in body["queries"]], None if following is None else int(following)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TeacherError(f"{self._url}/v1/queries: expected a page of queries, got {str(body)[:300]}") from error

    def _checked(self, output: str, values: NDArray[Any], expected: tuple[int, ...]) -> NDArray[np.float32]:
        floating = values.dtype.kind == "f"
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        if not floating or values.shape != expected or not np.isfinite(values).all():
            raise TeacherError(
                f"{self._url}: expected finite {output} of shape {list(expected)}, got {values.dtype} "
                f"{list(values.shape)}; they were not kept"
            )
        return values

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        patience_seconds = min(_QUESTION_PATIENCE_SECONDS, self._give_up_after_seconds)
        response = self._send(method, path, patience_seconds=patience_seconds, **request)
        try:
            body = response.json()
        except ValueError as error:
            raise TeacherError(f"{self._url}{path}: expected JSON, got {response.text[:80]!r}") from error
        if not isinstance(body, dict):
            raise TeacherError(f"{self._url}{path}: expected a JSON object, got {response.text[:80]!r}")
        return body

    def _send(self, method: str, path: str, *, patience_seconds: float, **request: Any) -> httpx.Response:
        def tell(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            self._on_retry(f"{error}; trying again in {state.upcoming_sleep:.1f} s")

        retrying = Retrying(
            retry=retry_if_exception_type(TeacherUnavailable),
            stop=stop_after_attempt(_MAX_ATTEMPTS) | stop_before_delay(patience_seconds),
            wait=_wait,
            before_sleep=tell,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(self._send_once, method, path, **request)
        except QuotaExhausted:
            raise
        except TeacherRefused as error:
            if retrying.statistics["attempt_number"] == 1:
                raise
            # An earlier attempt may have been charged and its answer lost, whatever is said of this one.
            raise TeacherError(str(error)) from error

    def _send_once(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, **request)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.DecodingError) as error:
            raise TeacherError(f"{self._url}: the request or its answer is not valid HTTP ({error})") from error
        except httpx.TransportError as error:
            raise TeacherUnavailable(
                f"{self._url}: the teacher cannot be reached ({str(error) or type(error).__name__}); is it running, "
                "and is the URL right?"
            ) from error
        if response.is_success:
            return response
        raise self._refusal(response)

    def _refusal(self, response: httpx.Response) -> TeacherError:
        detail, kind = _problem(response)
        message = f"{self._url}: {response.status_code} {detail}"
        cause = httpx.HTTPStatusError(message, request=response.request, response=response)
        refusal: TeacherError
        if kind == problem.QUOTA_EXCEEDED:
            refusal = QuotaExhausted(message)
        elif kind == problem.OUTPUT_NOT_ALLOWED:
            refusal = TeacherRefused(message)
        elif response.status_code in _TRANSIENT_STATUSES:
            refusal = TeacherUnavailable(message, retry_after_seconds=_retry_after_seconds(response))
        elif response.status_code in _CONTENT_REFUSALS:
            refusal = TeacherRefused(message)
        else:
            refusal = TeacherError(message)
        refusal.__cause__ = cause
        return refusal


def _status(error: TeacherError) -> int | None:
    """What the server answered with, where an answer of its own was the failure."""
    cause = error.__cause__
    return cause.response.status_code if isinstance(cause, httpx.HTTPStatusError) else None


def _logged(query: dict[str, Any]) -> LoggedQuery:
    status, outputs, key = query["status"], query["outputs"], query["idempotency_key"]
    if status not in ("held", "settled", "released") or not isinstance(key, str | None):
        raise ValueError(f"status {status!r}, key {key!r}")
    return LoggedQuery(
        idempotency_key=key,
        request_id=str(query["request_id"]),
        samples=int(query["samples"]),
        outputs=tuple(outputs.split(",")) if outputs else (),
        status=status,
        model_version=str(query["model_version"]),
        created_at=_moment(query["created_at"]),
        finished_at=None if query["finished_at"] is None else _moment(query["finished_at"]),
    )


def _moment(said: str) -> float:
    """ISO 8601, UTC unless it says otherwise."""
    moment = datetime.fromisoformat(said)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _wait(state: RetryCallState) -> float:
    """What Retry-After says, plus jitter; else a doubling wait with full jitter."""
    error = state.outcome.exception() if state.outcome else None
    told = error.retry_after_seconds if isinstance(error, TeacherUnavailable) else None
    if told is not None:
        return told + random.uniform(0, 0.25)
    return random.uniform(0.05, min(_LONGEST_WAIT_SECONDS, 0.1 * 2.0**state.attempt_number))


def _retry_after_seconds(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _problem(response: httpx.Response) -> tuple[str, str]:
    try:
        body = response.json()
    except ValueError:
        return response.text[:200] or response.reason_phrase, ""
    said = body.get("detail") or body.get("error") if isinstance(body, dict) else None
    return str(said or response.reason_phrase), problem.type_of(body)


def _offered(tensors: list[dict[str, Any]]) -> dict[str, tuple[int, ...]]:
    """The shape of one sample's output by name, of all but the logits whose values could be kept."""
    offered = {}
    for tensor in tensors:
        name, shape = str(tensor["name"]), tensor.get("shape")
        if name == "logits" or tensor.get("datatype", "FP32") not in _FLOATING or not isinstance(shape, list):
            continue
        if all(isinstance(size, int) and size > 0 for size in shape[1:]):
            offered[name] = tuple(shape[1:])
    return offered


def _tensor(tensors: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(tensor for tensor in tensors if tensor["name"] == name)
