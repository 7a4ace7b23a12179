"""How fast one teacher is asked, whoever asks: every attempt of every thread begins here.

An attempt waits until what the teacher last told suffices for it: what was told is carried on by what comes back with
time, less all that may not have been counted when it was told. So a limit is used up and not run into. What is told
always wins over what was reckoned: others may use the same key.

How many are in flight follows from how it goes. It doubles with every round from a few, halves when the teacher pushes
back, and grows by one a round from there; never beyond what is configured, or told.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from threading import Condition, Lock
from typing import Final

from distill_worker.teachers.rate_limit_headers import Limits

_FIRST_AT_ONCE: Final = 4
_LONGEST_SLEEP_SECONDS: Final = 3600.0
"""After which it is looked again: no clock sleeps for any number that a teacher may say."""
_NOTHING: Final = Limits()


class WaitTooLong(Exception):
    """The teacher lets nothing through for longer than anybody would wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.0f} s")
        self.seconds = seconds


class Stopped(Exception):
    """Nothing more is to begin."""


@dataclass(eq=False)
class Turn:
    """One attempt, from its begin to its end."""

    number: int
    samples: int
    pays: bool
    samples_ended: int = 0
    """Of the attempts that ended since this one began: what it is told may not have them counted yet."""
    requests_ended: int = 0


@dataclass
class Pacer:
    """Thread-safe. `wait` sleeps on a condition for so many seconds, or until it is notified."""

    most_at_once: int
    longest_wait_seconds: float
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[Condition, float | None], object] = Condition.wait
    _limits: Limits = _NOTHING
    _limits_at: float = 0.0
    _limits_of: int = 0
    """The number of the attempt that was told them."""
    _closed_until: float = 0.0
    _at_once: float = _FIRST_AT_ONCE
    _doubles: bool = True
    _pushed_back_at: int = 0
    """Attempts up to this number were begun before the last push back was heeded."""
    _last: int = 0
    _stopped: bool = False
    _flying: list[Turn] = field(default_factory=list)
    _paying: int = 0
    _line: Lock = field(default_factory=Lock)
    """The one who holds it is next; all others wait behind."""
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
        """Let nothing that costs begin any more: whoever waits is woken and told."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def begin_question(self) -> Turn:
        """A request that costs nothing, and waits for nothing."""
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
        """Its answer came, or none did: what it said, and for how long nobody may ask now."""
        with self._changed:
            self._flying.remove(turn)
            self._paying -= turn.pays
            for other in self._flying:
                other.samples_ended += turn.samples
                other.requests_ended += turn.pays
            now = self.clock()
            self._closed_until = max(self._closed_until, now + closed_for_seconds)
            self._hear(turn, limits, now)
            if turn.pays:
                self._adapt(turn, pushed_back=pushed_back)
            self._changed.notify_all()

    @property
    def at_once(self) -> int:
        """How many may be in flight now."""
        told = self._limits.most_at_once
        return max(1, min(int(self._at_once), self.most_at_once, self.most_at_once if told is None else told))

    def _hear(self, turn: Turn, limits: Limits, now: float) -> None:
        if limits == _NOTHING or turn.number < self._limits_of:
            return  # an answer to an older attempt than was heard of already says nothing new
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
