"""How the query log and the usage by day are asked for, and told."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model

from shared.times import parse_day, parse_time, utc
from teacher_service.errors.service_errors import InvalidRequest
from teacher_service.query_log.export import FACTS, TIMES, TYPES
from teacher_service.query_log.history import Day, History, QueryFilter, QueryPage, Status

_EPOCH: Final = date(1970, 1, 1)
_MOST_DAYS: Final = 366


def _read_as(parse: Callable[[str], Any]) -> BeforeValidator:
    return BeforeValidator(lambda said: parse(said) if isinstance(said, str) else said)


_DATE: Final = {"type": "string", "format": "date"}
_Moment = Annotated[
    float, _read_as(parse_time), WithJsonSchema({"anyOf": [_DATE, {"type": "string", "format": "date-time"}]})
]
_Day = Annotated[date, _read_as(parse_day), WithJsonSchema(_DATE)]
KeyIdFilter = Annotated[str | None, Field(default=None, pattern="^[A-Za-z0-9]{1,32}$")]


class PageAsked(BaseModel):
    """Which queries, newest first, and how many at a time."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=1000)
    cursor: int | None = Field(default=None, ge=1, le=2**63 - 1, description="`next` of the page before.")
    status: Status | None = None
    since: _Moment | None = Field(default=None, description="Admitted from then on: ISO 8601, UTC by default.")
    until: _Moment | None = Field(default=None, description="Admitted before then.")
    idempotency_key: str | None = Field(
        default=None, pattern="^[ -~]{1,255}$", description="The query that is charged, or held, under it."
    )

    def wanted(self, key_id: str | None) -> QueryFilter:
        """Of one key, or of all."""
        return QueryFilter(key_id, self.status, self.since, self.until, self.idempotency_key)


class UsageAsked(BaseModel):
    """Which days, UTC: at most 366; by default the last 366."""

    model_config = ConfigDict(extra="forbid")

    since: _Day | None = Field(default=None, description="From that day on; by default 366 days before `until`.")
    until: _Day | None = Field(default=None, description="Before that day; by default tomorrow.")


def _shown_type(fact: str) -> Any:
    if fact == "status":
        return Status
    return _SHOWN_TIMES[type(None) in get_args(TYPES[fact])] if fact in TIMES else TYPES[fact]


_SHOWN_TIMES: Final = (datetime, datetime | None)
if TYPE_CHECKING:
    _QueryFields = BaseModel
else:
    _QueryFields = create_model("_QueryFields", **{fact: (_shown_type(fact), ...) for fact in FACTS})


class QueryFacts(_QueryFields):
    """A query, as the log has it."""


class QueryPageBody(BaseModel):
    """Queries, newest first."""

    queries: list[QueryFacts]
    next: int | None
    """The `cursor` of the next page; null where there is no more."""

    @classmethod
    def of(cls, page: QueryPage) -> Self:
        """A page, as JSON says it."""
        return cls(queries=[_query_facts(row) for row in page.queries], next=page.next)


class DayBody(BaseModel):
    """What was charged on one day, UTC."""

    day: date
    queries: int
    samples: int


class UsageBody(BaseModel):
    """What was charged by day, of the days on which anything was; oldest first."""

    since: date
    until: date
    days: list[DayBody]
    queries: int
    """Of all these days."""
    samples: int


def usage(history: History, asked: UsageAsked, key_id: str | None) -> UsageBody:
    """The days that are asked for, of one key or of all.

    Raises:
        InvalidRequest: they are more than 366, or none.
    """
    today = utc(history.clock()).date()
    until = asked.until or today + timedelta(days=1)
    since = asked.since or max(until, date.min + timedelta(days=_MOST_DAYS)) - timedelta(days=_MOST_DAYS)
    if not 0 <= (until - since).days <= _MOST_DAYS:
        raise InvalidRequest(
            f"since: expected a day at most {_MOST_DAYS} days before until ({until}), and not after it, got {since}"
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
