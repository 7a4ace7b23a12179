"""Points in time as people write and read them; elsewhere they are seconds since the epoch, UTC."""

import re
from datetime import UTC, datetime
from typing import Final

LAST: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
"""What comes later cannot be written."""

_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400}
_SPAN = re.compile(r"(\d{1,6})([mhd])")


def iso(at: float, timespec: str = "seconds") -> str:
    """ISO 8601, UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec=timespec)


def parse_moment(said: str) -> float:
    """An ISO 8601 date or date and time, UTC unless it says otherwise.

    Raises:
        ValueError: it is something else.
    """
    try:
        moment = datetime.fromisoformat(said)
        # As UTC, which has no year 0 or 10000: what is read here can be written again.
        return (moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise ValueError(f"expected an ISO 8601 date, such as 2027-01-31 or 2027-01-31T12:00Z, got {said!r}") from error


def parse_end(said: str, now: float) -> float:
    """A moment, or a time from now on: `90m`, `12h`, `30d`.

    Raises:
        ValueError: it is neither, or it has passed.
    """
    span = _SPAN.fullmatch(said)
    try:
        end = now + int(span[1]) * _SECONDS[span[2]] if span else parse_moment(said)
    except ValueError as error:
        raise ValueError(f"{error}, or a time from now on, such as 30d, 12h or 90m") from error
    if end <= now:
        raise ValueError(f"expected a time to come, got {said!r}")
    return end
