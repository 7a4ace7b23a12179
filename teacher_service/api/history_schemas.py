"""Parameters and response bodies of the query log and of the usage by day."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model

from shared.times import parse_day, parse_time, utc
from teacher_service.errors.service_errors import InvalidRequest
from teacher_service.query_log.export import FACTS, TIMES, TYPES
from teacher_service.query_log.history import Day, History, QueryFilter, QueryPage, Status

_EPOCH: Final = date(1970, 1, 1)
_MAX_DAYS: Final = 366


def _read_as(parse: Callable[[str], Any]) -> BeforeValidator:
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


_DATE: Final = {"type": "string", "format": "date"}
_Time = Annotated[
    float, _read_as(parse_time), WithJsonSchema({"anyOf": [_DATE, {"type": "string", "format": "date-time"}]})
]
_Day = Annotated[date, _read_as(parse_day), WithJsonSchema(_DATE)]
KeyIdFilter = Annotated[str | None, Field(default=None, pattern="^[A-Za-z0-9]{1,32}$")]


class PageQuery(BaseModel):
    """Filters of the query log, newest first, and the size of a page."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=1000)
    cursor: int | None = Field(default=None, ge=1, le=2**63 - 1, description="`next` of the previous page.")
    status: Status | None = None
    since: _Time | None = Field(default=None, description="Admitted at or after this time: ISO 8601, UTC by default.")
    until: _Time | None = Field(default=None, description="Admitted before this time: ISO 8601, UTC by default.")
    idempotency_key: str | None = Field(
        default=None,
        pattern="^[ -~]{1,255}$",
        description="Only the query that is charged, or held, under this Idempotency-Key.",
    )

    def wanted(self, key_id: str | None) -> QueryFilter:
        """The filters, for one key or for all."""
        return QueryFilter(key_id, self.status, self.since, self.until, self.idempotency_key)


class UsageQuery(BaseModel):
    """A range of days, UTC: at most 366; by default the last 366."""

    model_config = ConfigDict(extra="forbid")

    since: _Day | None = Field(default=None, description="First day; by default 366 days before `until`.")
    until: _Day | None = Field(default=None, description="Day after the last one; by default tomorrow.")


def _response_type(fact: str) -> Any:
    if fact == "status":
        return Status
    return _TIME_TYPES[type(None) in get_args(TYPES[fact])] if fact in TIMES else TYPES[fact]


_TIME_TYPES: Final = (datetime, datetime | None)
if TYPE_CHECKING:
    _QueryFields = BaseModel
else:
    _QueryFields = create_model("_QueryFields", **{fact: (_response_type(fact), ...) for fact in FACTS})


class QueryFacts(_QueryFields):
    """One query, as the log records it."""


class QueryPageBody(BaseModel):
    """Queries, newest first."""

    queries: list[QueryFacts]
    next: int | None
    """The `cursor` of the next page; null on the last page."""

    @classmethod
    def of(cls, page: QueryPage) -> Self:
        """The response body for one page."""
        return cls(queries=[_query_facts(row) for row in page.queries], next=page.next)


class DayBody(BaseModel):
    """Queries and samples charged on one day, UTC."""

    day: date
    queries: int
    samples: int


class UsageBody(BaseModel):
    """Queries and samples charged by day, oldest first; days without any are left out."""

    since: date
    until: date
    days: list[DayBody]
    queries: int
    """Total of all days in the range."""
    samples: int


def usage(history: History, query: UsageQuery, key_id: str | None) -> UsageBody:
    """The usage in the requested range of days, of one key or of all.

    Raises:
        InvalidRequest: the range ends before it starts, or exceeds 366 days.
    """
    today = utc(history.clock()).date()
    until = query.until or today + timedelta(days=1)
    since = query.since or max(until, date.min + timedelta(days=_MAX_DAYS)) - timedelta(days=_MAX_DAYS)
    if not 0 <= (until - since).days <= _MAX_DAYS:
        raise InvalidRequest(
            f"since: expected a day at most {_MAX_DAYS} days before until ({until}), and not after it, got {since}"
        )
    days = history.usage(key_id, (since - _EPOCH).days, (until - _EPOCH).days)
    return UsageBody(
        since=since,
        until=until,
        days=[_day_body(day) for day in days],
        queries=sum(day.queries for day in days),
        samples=sum(day.samples for day in days),
    )


def _query_facts(row: Any) -> QueryFacts:
    facts = {name: getattr(row, name) for name in FACTS}
    for name in TIMES:
        if facts[name] is not None:
            facts[name] = utc(facts[name])
    return QueryFacts(**facts)


def _day_body(day: Day) -> DayBody:
    return DayBody(day=_EPOCH + timedelta(days=day.day), queries=day.queries, samples=day.samples)
