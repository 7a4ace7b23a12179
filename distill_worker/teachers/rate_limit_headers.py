"""What a server's answer says of how fast it may be asked.

Read are the structured fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers), their earlier
form `limit=, remaining=, reset=`, and vendors' `X-RateLimit-Limit`, `-Remaining`, `-Reset`. What cannot be read is
passed over: a limit that is not understood shows in a 429.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Final, Literal

Unit = Literal["requests", "samples"]

_EPOCH: Final = 10**9
"""A reset that is larger is a point in time, in seconds since the epoch."""
_ROUNDING: Final = 1e-6
_STRING: Final = r'"(?:[^"\\]|\\["\\])*"'
_VALUE: Final = rf"(?:{_STRING}|[^\s;,\"]+)"
_ITEM: Final = re.compile(rf"\s*({_STRING}|[A-Za-z*][^\s;,=\"]*)((?:\s*;\s*[a-z*][\w.*-]*(?:={_VALUE})?)*)\s*")
_PARAMETER: Final = re.compile(rf";\s*([a-z*][\w.*-]*)(?:=({_VALUE}))?")
_OLD_FORM: Final = re.compile(r"\s*([a-z]+)\s*=\s*(\d+)\s*")


@dataclass(frozen=True)
class Allowance:
    """What is left of one limit now, and when more comes back."""

    unit: Unit
    remaining: float
    """Below 0 where more was asked than there is."""
    resets_in_seconds: float | None
    """After how long all of it remains; None when that was not said."""
    limit: float | None = None
    window_seconds: float | None = None
    comes_back_evenly: bool = False
    """As `limit` in `window_seconds`; else all of it at the reset."""

    @classmethod
    def told(
        cls, unit: Unit, remaining: float, resets_in_seconds: float | None, limit: float | None, window: float | None
    ) -> "Allowance | None":
        """One as a server tells it; None when it is never a reason to wait: what is spent of it does not come back.

        A bucket that fills evenly is full after a time that follows from what remains of it. Any other time is that of
        a reset. Both may be rounded to whole numbers, the time upwards.
        """
        if not limit or not window:
            return None if resets_in_seconds is None else cls(unit, remaining, resets_in_seconds, limit or None, window)
        for_one, lacking = window / limit, limit - remaining
        earliest, latest = (lacking - 1) * for_one - _ROUNDING, lacking * for_one + 1 + _ROUNDING
        even = resets_in_seconds is None or earliest <= resets_in_seconds <= latest
        return cls(unit, remaining, resets_in_seconds, limit, window, even)

    def spent(self, cost: float) -> "Allowance":
        """After `cost` was asked."""
        return replace(self, remaining=self.remaining - cost)

    def later(self, seconds: float) -> "Allowance":
        """What it will be when nothing is asked meanwhile."""
        if self.comes_back_evenly and self.limit and self.window_seconds:
            back = seconds * self.limit / self.window_seconds
            return replace(self, remaining=min(self.limit, self.remaining + back))
        if self.resets_in_seconds is None:
            return self
        left = self.resets_in_seconds - seconds
        if left > 0:
            return replace(self, resets_in_seconds=left)
        whole = inf if self.limit is None else self.limit
        # Where windows are not told there is no knowing when the next one ends, so it is no reason to wait.
        return replace(self, remaining=whole if self.window_seconds else inf, resets_in_seconds=self.window_seconds)

    def seconds_until(self, cost: float) -> float:
        """How long until `cost` may be asked, or all there is where that is less."""
        lacking = min(cost, inf if self.limit is None else self.limit) - self.remaining
        if lacking < _ROUNDING:
            return 0.0
        if self.comes_back_evenly and self.limit and self.window_seconds:
            return lacking * self.window_seconds / self.limit
        return self.resets_in_seconds or 0.0


@dataclass(frozen=True)
class Limits:
    """What one answer says."""

    allowances: tuple[Allowance, ...] = ()
    most_at_once: int | None = None
    """Requests that may be answered at the same time."""


def limits(headers: Mapping[str, str], now: float) -> Limits:
    """What the headers of an answer say. `now` is in seconds since the epoch; header names are in small letters."""
    told, policy = headers.get("ratelimit", ""), headers.get("ratelimit-policy", "")
    if told or policy:
        found = _structured(_items(told), _items(policy))
        if found.allowances or found.most_at_once is not None:
            return found
    pairs = {name: _number(value) for name, value in map(_old_pair, told.split(",")) if name}
    old = {name: number for name, number in pairs.items() if number is not None}
    for name in ("limit", "remaining", "reset"):
        said = headers.get(f"ratelimit-{name}", headers.get(f"x-ratelimit-{name}", ""))
        if name not in old and (number := _number(said.split(",")[0].split(";")[0].strip())) is not None:
            old[name] = number
    if "remaining" not in old:
        return Limits()
    reset = old.get("reset")
    if reset is not None and reset > _EPOCH:
        reset = max(0.0, reset - now)
    allowance = Allowance.told("requests", old["remaining"], reset, old.get("limit"), None)
    return Limits() if allowance is None else Limits((allowance,))


def _structured(left: Mapping[str, Mapping[str, str]], policies: Mapping[str, Mapping[str, str]]) -> Limits:
    allowances = []
    most_at_once = None
    for name in {**policies, **left}:
        policy, state = policies.get(name, {}), left.get(name, {})
        quota, window, remaining, resets = (
            _number(said.get(key)) for said, key in ((policy, "q"), (policy, "w"), (state, "r"), (state, "t"))
        )
        match policy.get("qu", "requests"):
            case "concurrent-requests" if quota is not None and quota >= 1:
                most_at_once = int(quota)
            case "requests" | "samples" as unit if remaining is not None:
                allowance = Allowance.told(unit, remaining, resets, quota, window)
                allowances += [] if allowance is None else [allowance]
    return Limits(tuple(allowances), most_at_once)


def _items(field: str) -> dict[str, dict[str, str]]:
    """A structured field's list of names with parameters; empty when it is anything else, as RFC 9651 asks."""
    found: dict[str, dict[str, str]] = {}
    position = 0
    while match := _ITEM.match(field, position):
        found[_bare(match[1])] = {name: _bare(value) for name, value in _PARAMETER.findall(match[2])}
        position = match.end()
        if position == len(field):
            return found
        if field[position] != ",":
            break
        position += 1
    return {}


def _bare(said: str) -> str:
    return re.sub(r"\\(.)", r"\1", said[1:-1]) if said.startswith('"') else said


def _old_pair(said: str) -> tuple[str, str]:
    match = _OLD_FORM.fullmatch(said)
    return (match[1], match[2]) if match else ("", "0")


def _number(said: str | None) -> float | None:
    try:
        number = float(said or "")
    except ValueError:
        return None
    return number if isfinite(number) and number >= 0 else None
