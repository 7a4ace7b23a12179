"""The query log in pages, newest first, and the usage by day.

Invariant: a page reads its own rows and no others, for every filter and every length of the log. Every filter is a
range of an index: one status at a time, then the time of admission.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, and_, func, select, tuple_, union_all

from teacher_service.database.engine import follow_indexes
from teacher_service.database.schema import answers, daily_usage, queries
from teacher_service.errors.service_errors import InvalidRequest
from teacher_service.ledger.reader import read_connection
from teacher_service.query_log.export import FACTS

Status = Literal["held", "settled", "released"]

_STATUSES: Final[Sequence[Status]] = get_args(Status)


@dataclass(frozen=True)
class QueryFilter:
    """A filter of queries; a field that is None does not apply."""

    key_id: str | None = None
    status: Status | None = None
    since: float | None = None
    """Admitted at or after this time, in seconds since the epoch."""
    until: float | None = None
    """Admitted before this time."""
    idempotency_key: str | None = None
    """The charged or held query of this Idempotency-Key; a released query frees its own. Needs `key_id`."""


@dataclass(frozen=True)
class QueryPage:
    """Queries with their `FACTS`, and the cursor of the next page; None if there is none."""

    queries: Sequence[Row[Any]]
    next: int | None


@dataclass(frozen=True)
class Day:
    """The charges of a day, counted in days since the epoch, UTC."""

    day: int
    queries: int
    samples: int


class History:
    """Reads the queries and the usage of one ledger."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine = engine
        self.clock = clock

    def page(self, query_filter: QueryFilter, limit: int, cursor: int | None = None) -> QueryPage:
        """At most `limit` queries, from the one after `cursor`. A query that is admitted meanwhile is on no later page.

        Raises:
            InvalidRequest: no query has the id `cursor`.
            LedgerUnavailable: the database cannot be read.
        """
        with read_connection(self._engine) as connection:
            follow_indexes(connection)
            begin = None if cursor is None else (_admitted_at(connection, cursor), cursor)
            rows = connection.execute(statement(query_filter, limit + 1, begin)).all()
        return QueryPage(rows[:limit], rows[limit - 1].id if len(rows) > limit else None)

    def usage(self, key_id: str | None, first: int, end: int) -> Sequence[Day]:
        """The charges of each day from `first` and before `end`, of one key or of all; oldest first.

        Raises:
            LedgerUnavailable: the database cannot be read.
        """
        sums = select(daily_usage.c.day, func.sum(daily_usage.c.queries), func.sum(daily_usage.c.samples))
        days = sums.where(daily_usage.c.day >= first, daily_usage.c.day < end)
        if key_id is not None:
            days = days.where(daily_usage.c.key_id == key_id)
        with read_connection(self._engine) as connection:
            rows = connection.execute(days.group_by(daily_usage.c.day).order_by(daily_usage.c.day)).all()
        return [Day(day, int(count), int(samples)) for day, count, samples in rows]


def statement(query_filter: QueryFilter, limit: int, begin: tuple[float, int] | None) -> Select[Any]:
    """The SQL of the first `limit` queries that pass the filter, after the one with this admission time and id."""
    window = _window(query_filter, begin)
    facts = [queries.c[name] for name in FACTS]
    order = (queries.c.created_at.desc(), queries.c.id.desc())
    if query_filter.key_id is not None:
        window.append(queries.c.key_id == query_filter.key_id)
    if query_filter.idempotency_key is not None:
        same_key = and_(
            answers.c.key_id == query_filter.key_id, answers.c.idempotency_key == query_filter.idempotency_key
        )
        if query_filter.status is not None:
            window.append(queries.c.status == query_filter.status)
        one = select(*facts).join(answers, answers.c.query_id == queries.c.id)
        return one.where(same_key, *window).order_by(*order).limit(limit)
    # One ordered range of the index for each status; merging them keeps the order.
    statuses = _STATUSES if query_filter.status is None else [query_filter.status]
    ranges = [
        select(*facts).where(queries.c.status == status, *window).order_by(*order).limit(limit).subquery()
        for status in statuses
    ]
    merged = union_all(*(select(part) for part in ranges)).subquery()
    return select(merged).order_by(merged.c.created_at.desc(), merged.c.id.desc()).limit(limit)


def _window(query_filter: QueryFilter, begin: tuple[float, int] | None) -> list[ColumnElement[bool]]:
    """At most one bound at each end: with two, a database may seek the wider and scan to the narrower."""
    window: list[ColumnElement[bool]] = []
    if query_filter.since is not None:
        window.append(queries.c.created_at >= query_filter.since)
    if begin is not None and (query_filter.until is None or begin[0] < query_filter.until):
        window.append(tuple_(queries.c.created_at, queries.c.id) < tuple_(*begin))
    elif query_filter.until is not None:
        window.append(queries.c.created_at < query_filter.until)
    return window


def _admitted_at(connection: Connection, query_id: int) -> float:
    at = connection.scalar(select(queries.c.created_at).where(queries.c.id == query_id))
    if at is None:
        raise InvalidRequest(f"cursor: expected the `next` of an earlier page, got {query_id}")
    return float(at)
