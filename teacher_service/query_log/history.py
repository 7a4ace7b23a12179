"""The query log a page at a time, newest first, and what was used by day.

Invariant: a page costs its own rows and no more, whatever is asked for and however long the log is. Every filter is a
range of an index: a status at a time, then the time of admission.
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
class Wanted:
    """Which queries are asked for; None where it does not matter."""

    key_id: str | None = None
    status: Status | None = None
    since: float | None = None
    """Admitted from then on, in seconds since the epoch."""
    until: float | None = None
    """Admitted before then."""
    idempotency_key: str | None = None
    """The query that is charged, or held, under it: one that was released freed it. Needs `key_id`."""


@dataclass(frozen=True)
class QueryPage:
    """Queries with their `FACTS`, and where the next page begins; None where there is no more."""

    queries: Sequence[Row[Any]]
    next: int | None


@dataclass(frozen=True)
class Day:
    """What was charged on a day, counted in days since the epoch, UTC."""

    day: int
    queries: int
    samples: int


class History:
    """What one ledger remembers."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine = engine
        self.clock = clock

    def page(self, wanted: Wanted, limit: int, cursor: int | None = None) -> QueryPage:
        """At most `limit` queries, from the one after `cursor` on; those that come meanwhile are on no later page.

        Raises:
            InvalidRequest: `cursor` is no query's id.
            LedgerUnavailable: the database cannot be read.
        """
        with read_connection(self._engine) as connection:
            follow_indexes(connection)
            begin = None if cursor is None else (_admitted_at(connection, cursor), cursor)
            found = connection.execute(statement(wanted, limit + 1, begin)).all()
        return QueryPage(found[:limit], found[limit - 1].id if len(found) > limit else None)

    def usage(self, key_id: str | None, first: int, end: int) -> Sequence[Day]:
        """What was charged on each day from `first` on and before `end`, to one key or to all; oldest first.

        Raises:
            LedgerUnavailable: the database cannot be read.
        """
        sums = select(daily_usage.c.day, func.sum(daily_usage.c.queries), func.sum(daily_usage.c.samples))
        asked = sums.where(daily_usage.c.day >= first, daily_usage.c.day < end)
        if key_id is not None:
            asked = asked.where(daily_usage.c.key_id == key_id)
        with read_connection(self._engine) as connection:
            found = connection.execute(asked.group_by(daily_usage.c.day).order_by(daily_usage.c.day)).all()
        return [Day(day, int(count), int(samples)) for day, count, samples in found]


def statement(wanted: Wanted, limit: int, begin: tuple[float, int] | None) -> Select[Any]:
    """What finds the first `limit` queries that are wanted, after the one admitted at that time with that id."""
    window = _window(wanted, begin)
    facts = [queries.c[name] for name in FACTS]
    order = (queries.c.created_at.desc(), queries.c.id.desc())
    if wanted.key_id is not None:
        window.append(queries.c.key_id == wanted.key_id)
    if wanted.idempotency_key is not None:
        known = and_(answers.c.key_id == wanted.key_id, answers.c.idempotency_key == wanted.idempotency_key)
        if wanted.status is not None:
            window.append(queries.c.status == wanted.status)
        one = select(*facts).join(answers, answers.c.query_id == queries.c.id)
        return one.where(known, *window).order_by(*order).limit(limit)
    # One ordered range of the index for each status; merged, they are the order of all.
    statuses = _STATUSES if wanted.status is None else [wanted.status]
    ranges = [
        select(*facts).where(queries.c.status == status, *window).order_by(*order).limit(limit).subquery()
        for status in statuses
    ]
    merged = union_all(*(select(found) for found in ranges)).subquery()
    return select(merged).order_by(merged.c.created_at.desc(), merged.c.id.desc()).limit(limit)


def _window(wanted: Wanted, begin: tuple[float, int] | None) -> list[ColumnElement[bool]]:
    """At most one bound at either end, or a database may seek the wider and walk to the narrower."""
    window: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        window.append(queries.c.created_at >= wanted.since)
    if begin is not None and (wanted.until is None or begin[0] < wanted.until):
        window.append(tuple_(queries.c.created_at, queries.c.id) < tuple_(*begin))
    elif wanted.until is not None:
        window.append(queries.c.created_at < wanted.until)
    return window


def _admitted_at(connection: Connection, query_id: int) -> float:
    at = connection.scalar(select(queries.c.created_at).where(queries.c.id == query_id))
    if at is None:
        raise InvalidRequest(f"cursor: expected what `next` of an earlier page said, got {query_id}")
    return float(at)
