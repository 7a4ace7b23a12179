"""Reads the rate limits and the Retry-After in the headers of a response.

It reads the structured fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers), their earlier
form `limit=, remaining=, reset=`, and vendors' `X-RateLimit-Limit`, `-Remaining`, `-Reset`. Values that
cannot be read are ignored: a limit that is not understood shows in a 429.

A time on the server's clock is compared with the response's own Date: the clocks may be minutes apart.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import inf, isfinite
from typing import Final, Literal

Unit = Literal["requests", "samples"]

_EPOCH: Final = 10**9
"""A larger reset is a time, in seconds since the epoch."""
_FOR_EVER_SECONDS: Final = 1e9
_SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]*)?")
_ROUNDING: Final = 1e-6
_STRING: Final = r'"(?:[^"\\]|\\["\\])*"'
_VALUE: Final = rf"(?:{_STRING}|[^\s;,\"]+)"
_ITEM: Final = re.compile(rf"\s*({_STRING}|[A-Za-z*][^\s;,=\"]*)((?:\s*;\s*[a-z*][\w.*-]*(?:={_VALUE})?)*)\s*")
_PARAMETER: Final = re.compile(rf";\s*([a-z*][\w.*-]*)(?:=({_VALUE}))?")
_OLD_FORM: Final = re.compile(r"\s*([a-z]+)\s*=\s*(\d+)\s*")


@dataclass(frozen=True)
class Allowance:
    """What remains of one limit, and when it refills."""

    unit: Unit
    remaining: float
    """Below 0 if more was sent than remained."""
    resets_in_seconds: float | None
    """The time until it is full; None if the server does not state it."""
    limit: float | None = None
    window_seconds: float | None = None
    refills_evenly: bool = False
    """Whether it refills at `limit` in `window_seconds`; otherwise all at once at the reset."""

    @classmethod
    def stated(
        cls, unit: Unit, remaining: float, resets_in_seconds: float | None, limit: float | None, window: float | None
    ) -> "Allowance | None":
        """An allowance as a server states it; None if it never refills, so that waiting is useless.

        A bucket that refills evenly is full after a time that follows from what remains of it. Any other time is that
        of a reset. Both may be rounded to whole numbers, the time upwards.
        """
        if not limit or not window:
            return None if resets_in_seconds is None else cls(unit, remaining, resets_in_seconds, limit or None, window)
        for_one, lacking = window / limit, limit - remaining
        earliest, latest = (lacking - 1) * for_one - _ROUNDING, lacking * for_one + 1 + _ROUNDING
        even = resets_in_seconds is None or earliest <= resets_in_seconds <= latest
        return cls(unit, remaining, resets_in_seconds, limit, window, even)

    def spent(self, cost: float) -> "Allowance":
        """The allowance after a request of `cost`."""
        return replace(self, remaining=self.remaining - cost)

    def later(self, seconds: float) -> "Allowance":
        """The allowance after so many seconds without a request."""
        if self.refills_evenly and self.limit and self.window_seconds:
            refill = seconds * self.limit / self.window_seconds
            return replace(self, remaining=min(self.limit, self.remaining + refill))
        if self.resets_in_seconds is None:
            return self
        left = self.resets_in_seconds - seconds
        if left > 0:
            return replace(self, resets_in_seconds=left)
        whole = inf if self.limit is None else self.limit
        # Without a stated window the end of the next one is unknown, so it is no reason to wait.
        return replace(self, remaining=whole if self.window_seconds else inf, resets_in_seconds=self.window_seconds)

    def seconds_until(self, cost: float) -> float:
        """Seconds until a request of `cost` is admitted, or one of the whole limit if that is smaller."""
        lacking = min(cost, inf if self.limit is None else self.limit) - self.remaining
        if lacking < _ROUNDING:
            return 0.0
        if self.refills_evenly and self.limit and self.window_seconds:
            return lacking * self.window_seconds / self.limit
        return self.resets_in_seconds or 0.0


@dataclass(frozen=True)
class Limits:
    """The limits in one response."""

    allowances: tuple[Allowance, ...] = ()
    most_at_once: int | None = None
    """Requests that may be in flight at the same time."""


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The value of Retry-After: seconds, also with a fraction, or the time until a date; None if it is neither."""
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), _FOR_EVER_SECONDS)
    date = _date(value)
    return None if date is None else max(0.0, date - server_time(headers))


def server_time(headers: Mapping[str, str]) -> float:
    """The time on the server's clock when it responded, in seconds since the epoch; this clock's without a Date."""
    date = _date(headers.get("date", ""))
    return time.time() if date is None else date


def seconds_ahead(headers: Mapping[str, str], now: float) -> float | None:
    """How far the server's clock is ahead of this one, which says `now`; None without a Date, in whole seconds."""
    date = _date(headers.get("date", ""))
    return None if date is None else date - now


def limits(headers: Mapping[str, str], now: float) -> Limits:
    """The limits in the headers of a response. `now` is the `server_time`; header names are in lower case."""
    state, policy = headers.get("ratelimit", ""), headers.get("ratelimit-policy", "")
    if state or policy:
        structured = _structured(_items(state), _items(policy))
        if structured.allowances or structured.most_at_once is not None:
            return structured
    pairs = {name: _number(value) for name, value in map(_old_pair, state.split(",")) if name}
    old = {name: number for name, number in pairs.items() if number is not None}
    for name in ("limit", "remaining", "reset"):
        value = headers.get(f"ratelimit-{name}", headers.get(f"x-ratelimit-{name}", ""))
        if name not in old and (number := _number(value.split(",")[0].split(";")[0].strip())) is not None:
            old[name] = number
    if "remaining" not in old:
        return Limits()
    reset = old.get("reset")
    if reset is not None and reset > _EPOCH:
        reset = max(0.0, reset - now)
    allowance = Allowance.stated("requests", old["remaining"], reset, old.get("limit"), None)
    return Limits() if allowance is None else Limits((allowance,))


def _structured(left: Mapping[str, Mapping[str, str]], policies: Mapping[str, Mapping[str, str]]) -> Limits:
    allowances = []
    most_at_once = None
    for name in {**policies, **left}:
        policy, state = policies.get(name, {}), left.get(name, {})
        quota, window, remaining, resets = (
            _number(field.get(key)) for field, key in ((policy, "q"), (policy, "w"), (state, "r"), (state, "t"))
        )
        match policy.get("qu", "requests"):
            case "concurrent-requests" if quota is not None and quota >= 1:
                most_at_once = int(quota)
            case "requests" | "samples" as unit if remaining is not None:
                allowance = Allowance.stated(unit, remaining, resets, quota, window)
                allowances += [] if allowance is None else [allowance]
    return Limits(tuple(allowances), most_at_once)


def _items(field: str) -> dict[str, dict[str, str]]:
    """The names and parameters in a structured field; empty for any other content, as RFC 9651 requires."""
    items: dict[str, dict[str, str]] = {}
    position = 0
    while match := _ITEM.match(field, position):
        items[_bare(match[1])] = {name: _bare(value) for name, value in _PARAMETER.findall(match[2])}
        position = match.end()
        if position == len(field):
            return items
        if field[position] != ",":
            break
        position += 1
    return {}


def _date(text: str) -> float | None:
    """An HTTP date, in seconds since the epoch."""
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _bare(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _old_pair(text: str) -> tuple[str, str]:
    match = _OLD_FORM.fullmatch(text)
    return (match[1], match[2]) if match else ("", "0")


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if isfinite(number) and number >= 0 else None
