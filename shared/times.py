"""Points in time as people write and read them; elsewhere they are seconds since the epoch, UTC."""

import re
from datetime import UTC, date, datetime
from typing import Final

LAST: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
"""The last second that can be written."""

_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400}
_SPAN = re.compile(r"(\d{1,6})([mhd])")


def utc(at: float) -> datetime:
    """A point in time as a `datetime`, in UTC."""
    return datetime.fromtimestamp(at, UTC)


def iso(at: float, timespec: str = "seconds") -> str:
    """ISO 8601, in UTC; `timespec` as of `datetime.isoformat`."""
    return utc(at).isoformat(timespec=timespec)


def to_minute(at: float) -> str:
    """For a table or a message, to the minute: `2027-01-31 12:00 UTC`."""
    return utc(at).strftime("%Y-%m-%d %H:%M UTC")


def parse_time(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 date or date and time, in UTC unless the text has an offset.

    Raises:
        ValueError: the text is neither, or the time cannot be written in UTC, which has no year 0 or 10000.
    """
    try:
        time = datetime.fromisoformat(text)
        at = (time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        utc(at)  # the last microseconds of year 9999 round to year 10000
    except (ValueError, OverflowError) as error:
        raise ValueError(f"expected an ISO 8601 date, such as 2027-01-31 or 2027-01-31T12:00Z, got {text!r}") from error
    return at


def parse_day(text: str) -> date:
    """The day of an ISO 8601 date.

    Raises:
        ValueError: the text is no such date.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"expected a day, such as 2027-01-31, got {text[:60]!r}") from error


def parse_end(text: str, now: float) -> float:
    """Seconds since the epoch of a future time: a date, a date and time, or a span from now (`90m`, `12h`, `30d`).

    Raises:
        ValueError: the text is none of these, or the time has passed.
    """
    span = _SPAN.fullmatch(text)
    try:
        end = now + int(span[1]) * _SECONDS[span[2]] if span else parse_time(text)
    except ValueError as error:
        raise ValueError(f"{error}, or a time from now on, such as 30d, 12h or 90m") from error
    if end <= now:
        raise ValueError(f"expected a time to come, got {text!r}")
    return end
