"""Reads the query log of our service, page by page."""

from collections.abc import Iterator
from typing import Any

from distill_worker.errors import TeacherError
from distill_worker.teachers.base import LoggedQuery
from distill_worker.teachers.http_errors import status_of
from distill_worker.teachers.http_sender import Sender
from shared.times import iso, parse_time

_PATH = "/v1/queries"
_PAGE = 1000
"""Queries on a page: the most that the service returns."""


def queries(sender: Sender, since: float | None) -> Iterator[LoggedQuery] | None:
    """See `Teacher.queries`; None if there is no such endpoint."""
    try:
        first = _page(sender, since, None)
    except TeacherError as error:
        if status_of(error) == 404:
            return None
        raise
    return _pages(sender, since, first)


def _pages(sender: Sender, since: float | None, page: tuple[list[LoggedQuery], int | None]) -> Iterator[LoggedQuery]:
    logged, cursor = page
    yield from logged
    while cursor is not None:
        logged, cursor = _page(sender, since, cursor)
        yield from logged


def _page(sender: Sender, since: float | None, cursor: int | None) -> tuple[list[LoggedQuery], int | None]:
    parameters: dict[str, Any] = {"limit": _PAGE}
    if since is not None:
        parameters["since"] = iso(since, "auto")
    if cursor is not None:
        parameters["cursor"] = cursor
    body = sender.json(_PATH, params=parameters)
    try:
        following = body["next"]
        return [_logged(query) for query in body["queries"]], None if following is None else int(following)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TeacherError(f"{sender.url}{_PATH}: expected a page of queries, got {str(body)[:300]}") from error


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
        created_at=parse_time(query["created_at"]),
        finished_at=None if query["finished_at"] is None else parse_time(query["finished_at"]),
    )
