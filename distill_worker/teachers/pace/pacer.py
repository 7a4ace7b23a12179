"""Paces the requests to one teacher: every attempt of every thread begins here.

An attempt waits until the teacher's limits admit it. Between responses the pacer estimates the limits: the last stated
values, plus the refill since, minus all requests that the teacher may not have counted yet. So a limit is used up and
not exceeded. Stated values replace the estimate, because others may use the same key.

The number of requests in flight adapts: it starts at a few, doubles with every round, halves when the teacher pushes
back, and from then on grows by one in a round. It never exceeds the configured number or the teacher's own limit.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from threading import Condition, Lock
from typing import Final

from distill_worker.teachers.pace.rate_limit_headers import Limits

_FIRST_AT_ONCE: Final = 4
_LONGEST_SLEEP_SECONDS: Final = 3600.0
"""The longest single sleep: a teacher may state a number that no clock can sleep for."""
_NOTHING: Final = Limits()


class WaitTooLong(Exception):
    """The teacher admits nothing for longer than `longest_wait_seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.0f} s")
        self.seconds = seconds


class Stopped(Exception):
    """No more attempts may begin."""


@dataclass(eq=False)
class Turn:
    """One attempt of a request."""

    number: int
    samples: int
    pays: bool
    samples_ended: int = 0
    """Samples of attempts that ended since this one began: the limits in its response may not count them yet."""
    requests_ended: int = 0


@dataclass
class Pacer:
    """The pace of one client. Thread-safe. `wait` sleeps on a condition until notified, or for so many seconds."""

    most_at_once: int
    longest_wait_seconds: float
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[Condition, float | None], object] = Condition.wait
    _limits: Limits = _NOTHING
    _limits_at: float = 0.0
    _limits_of: int = 0
    """The number of the attempt whose response had them."""
    _closed_until: float = 0.0
    _at_once: float = _FIRST_AT_ONCE
    _doubles: bool = True
    _pushed_back_at: int = 0
    """Attempts up to this number began before the last push back took effect."""
    _last: int = 0
    _stopped: bool = False
    _flying: list[Turn] = field(default_factory=list)
    _paying: int = 0
    _line: Lock = field(default_factory=Lock)
    """The thread that holds it is next; all others wait behind it."""
    _changed: Condition = field(default_factory=Condition)

    def begin(self, samples: int) -> Turn:
        """Wait until a request for so many samples may be sent.

        Raises:
            WaitTooLong: that would take longer than `longest_wait_seconds`.
            Stopped: see `stop`.
        """
        with self._line, self._changed:
            while True:
                if self._stopped:
                    raise Stopped
                if self._paying >= self.at_once:
                    self.wait(self._changed, None)
                    continue
                seconds = self._seconds_until(samples)
                if seconds <= 0:
                    return self._begun(samples)
                if seconds > self.longest_wait_seconds and not self._paying:
                    raise WaitTooLong(seconds)
                self.wait(self._changed, min(seconds, _LONGEST_SLEEP_SECONDS))

    def stop(self) -> None:
        """Let no more paid attempts begin; waiting ones raise `Stopped`."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def begin_free(self) -> Turn:
        """Begin a free request, which never waits."""
        with self._changed:
            return self._turn(0, pays=False)

    def end(
        self,
        turn: Turn,
        limits: Limits = _NOTHING,
        *,
        pushed_back: bool = False,
        closed_for_seconds: float = 0.0,
    ) -> None:
        """End an attempt, with the limits in its response and the time until the teacher admits requests again."""
        with self._changed:
            self._flying.remove(turn)
            self._paying -= turn.pays
            for other in self._flying:
                other.samples_ended += turn.samples
                other.requests_ended += turn.pays
            now = self.clock()
            self._closed_until = max(self._closed_until, now + closed_for_seconds)
            self._update(turn, limits, now)
            if turn.pays:
                self._adapt(turn, pushed_back=pushed_back)
            self._changed.notify_all()

    @property
    def at_once(self) -> int:
        """Requests that may be in flight now."""
        stated = self._limits.most_at_once
        return max(1, min(int(self._at_once), self.most_at_once, self.most_at_once if stated is None else stated))

    def _update(self, turn: Turn, limits: Limits, now: float) -> None:
        if limits == _NOTHING or turn.number < self._limits_of:
            return  # a newer attempt has newer limits
        unseen = {
            "samples": turn.samples_ended + sum(other.samples for other in self._flying),
            "requests": turn.requests_ended + self._paying,
        }
        allowances = tuple(allowance.spent(unseen[allowance.unit]) for allowance in limits.allowances)
        self._limits, self._limits_at, self._limits_of = Limits(allowances, limits.most_at_once), now, turn.number

    def _adapt(self, turn: Turn, *, pushed_back: bool) -> None:
        if not pushed_back:
            self._at_once += 1 if self._doubles else 1 / self._at_once
            self._at_once = min(self._at_once, self.most_at_once)
        elif turn.number > self._pushed_back_at:
            self._at_once = max(1.0, ceil(self.at_once / 2))
            self._doubles = False
            self._pushed_back_at = self._last

    def _seconds_until(self, samples: int) -> float:
        now = self.clock()
        seconds = [self._closed_until - now]
        for allowance in self._limits.allowances:
            later = allowance.later(now - self._limits_at)
            seconds.append(later.seconds_until(samples if later.unit == "samples" else 1))
        return max(seconds)

    def _begun(self, samples: int) -> Turn:
        now = self.clock()
        allowances = tuple(
            allowance.later(now - self._limits_at).spent(samples if allowance.unit == "samples" else 1)
            for allowance in self._limits.allowances
        )
        self._limits, self._limits_at = Limits(allowances, self._limits.most_at_once), now
        return self._turn(samples, pays=True)

    def _turn(self, samples: int, *, pays: bool) -> Turn:
        self._last += 1
        turn = Turn(self._last, samples, pays)
        self._flying.append(turn)
        self._paying += pays
        return turn
