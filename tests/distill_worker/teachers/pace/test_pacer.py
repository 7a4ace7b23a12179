"""When an attempt may begin: a clock that waiting moves, and answers that are told by hand."""

import threading
from threading import Condition

import pytest

from distill_worker.teachers.pace.pacer import Pacer, Turn, WaitTooLong
from distill_worker.teachers.pace.rate_limit_headers import Allowance, Limits
from tests.endurance import HANG_SECONDS


class Clock:
    """Waiting moves it; whoever would wait for an answer that never comes fails."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now

    def wait(self, _: Condition, seconds: float | None) -> None:
        """Nobody else moves."""
        assert seconds is not None, "it would wait for ever"
        self.now += seconds


def _pacer(most_at_once: int = 16, longest_wait: float = 120.0) -> tuple[Pacer, Clock]:
    clock = Clock()
    return Pacer(most_at_once, longest_wait, clock, clock.wait), clock


def _bucket(remaining: float, per_minute: float = 600) -> Limits:
    return Limits((Allowance("samples", remaining, None, per_minute, 60, refills_evenly=True),))


def _waited(pacer: Pacer, clock: Clock, samples: int = 32) -> float:
    began = clock.now
    pacer.end(pacer.begin(samples))
    return clock.now - began


def test_nothing_told_is_nothing_waited_for() -> None:
    pacer, clock = _pacer()
    assert _waited(pacer, clock, 10_000) == 0


def test_what_was_told_is_spent_and_comes_back_with_time() -> None:
    pacer, clock = _pacer()
    pacer.end(pacer.begin(32), _bucket(40))
    assert _waited(pacer, clock) == 0, "8 are left"
    assert _waited(pacer, clock) == pytest.approx(2.4), "24 at ten a second"
    assert _waited(pacer, clock) == pytest.approx(3.2)


def test_what_is_told_wins_over_what_was_reckoned() -> None:
    """Another worker spends from the same key; or the key was given more."""
    pacer, clock = _pacer()
    pacer.end(pacer.begin(32), _bucket(500))
    pacer.end(pacer.begin(32), _bucket(0))
    assert _waited(pacer, clock) == pytest.approx(3.2)
    pacer.end(pacer.begin(32), _bucket(500))
    assert _waited(pacer, clock) == 0


def test_requests_are_counted_as_requests() -> None:
    pacer, clock = _pacer()
    pacer.end(pacer.begin(32), Limits((Allowance("requests", 1, None, 60, 60, refills_evenly=True),)))
    assert _waited(pacer, clock) == 0
    assert _waited(pacer, clock) == pytest.approx(1)


def test_what_may_not_have_been_counted_yet_is_taken_off() -> None:
    """Of three in flight one is told that 100 are left: the others may be to come, even one that landed meanwhile."""
    pacer, clock = _pacer()
    first, second, third = (pacer.begin(32) for _ in range(3))
    pacer.end(second)
    pacer.end(first, _bucket(100))
    assert _waited(pacer, clock) == 0, "100 less 64 are 36"
    assert _waited(pacer, clock) == pytest.approx(2.8)
    pacer.end(third, _bucket(90))
    assert _waited(pacer, clock) == pytest.approx(7), "90 less the 128 of all that ended since it began"


def test_an_older_answer_says_nothing_new() -> None:
    """It came late: it was told more than is left."""
    pacer, clock = _pacer()
    late = pacer.begin(1)
    pacer.end(pacer.begin(32), _bucket(0))
    pacer.end(late, _bucket(600))
    assert _waited(pacer, clock) == pytest.approx(3.2, abs=0.2)


def test_everybody_waits_when_the_teacher_asks_for_it() -> None:
    pacer, clock = _pacer()
    pacer.end(pacer.begin(32), pushed_back=True, closed_for_seconds=7)
    assert _waited(pacer, clock) == pytest.approx(7)
    assert _waited(pacer, clock) == 0


def test_questions_wait_for_nothing_and_their_answers_are_heard() -> None:
    pacer, clock = _pacer()
    pacer.end(pacer.begin(32), pushed_back=True, closed_for_seconds=7)
    pacer.end(pacer.begin_free(), _bucket(0, per_minute=60))
    assert clock.now == 1000
    assert _waited(pacer, clock) == pytest.approx(32)


def test_nobody_waits_longer_than_anybody_would() -> None:
    pacer, clock = _pacer(longest_wait=100)
    pacer.end(pacer.begin(32), closed_for_seconds=101)
    with pytest.raises(WaitTooLong, match="101 s"):
        pacer.begin(32)
    assert clock.now == 1000


def _fly(pacer: Pacer) -> list[Turn]:
    """As many as may."""
    return [pacer.begin(1) for _ in range(pacer.at_once)]


def test_those_in_flight_double_with_every_round_up_to_what_is_configured() -> None:
    pacer, _ = _pacer(most_at_once=24)
    flown = []
    for _ in range(4):
        turns = _fly(pacer)
        flown.append(len(turns))
        for turn in turns:
            pacer.end(turn)
    assert flown == [4, 8, 16, 24]


def test_those_in_flight_halve_when_pushed_back_and_grow_by_one_a_round_from_there() -> None:
    """A whole round that is refused halves them once: all of it was sent before that was known."""
    pacer, _ = _pacer()
    for _ in range(3):
        for turn in _fly(pacer):
            pacer.end(turn)
    refused = _fly(pacer)
    assert len(refused) == 16
    for turn in refused:
        pacer.end(turn, pushed_back=True)
    flown = []
    for _ in range(3):
        turns = _fly(pacer)
        flown.append(len(turns))
        for turn in turns:
            pacer.end(turn)
    assert flown == [8, 8, 9], "the eighth answer makes 8 and almost 1"


def test_one_is_always_in_flight() -> None:
    pacer, _ = _pacer()
    for _ in range(10):
        pacer.end(pacer.begin(1), pushed_back=True)
    assert pacer.at_once == 1


def test_no_more_are_in_flight_than_is_told() -> None:
    pacer, _ = _pacer()
    pacer.end(pacer.begin(1), Limits(most_at_once=2))
    assert pacer.at_once == 2
    pacer.end(pacer.begin(1), Limits(most_at_once=1000))
    assert pacer.at_once == 6


def test_who_finds_no_room_waits_until_an_attempt_ends() -> None:
    """With real threads and a real condition."""
    pacer = Pacer(1, 120)
    first = pacer.begin(1)
    began, landed = threading.Event(), list[Turn]()

    def second() -> None:
        began.set()
        landed.append(pacer.begin(1))

    thread = threading.Thread(target=second)
    thread.start()
    began.wait()
    assert landed == []
    pacer.end(first)
    thread.join(timeout=HANG_SECONDS)
    assert len(landed) == 1


def test_who_waits_for_a_limit_is_woken_by_better_news() -> None:
    """What was taken off, in case it was not counted, had been: nobody sleeps through that."""
    pacer = Pacer(2, 1000)
    flying = pacer.begin(32)
    pacer.end(pacer.begin(32), _bucket(32, per_minute=60))
    landed = list[Turn]()
    thread = threading.Thread(target=lambda: landed.append(pacer.begin(32)))
    thread.start()
    pacer.end(flying)
    pacer.end(pacer.begin_free(), _bucket(32, per_minute=60))
    thread.join(timeout=HANG_SECONDS)
    assert len(landed) == 1


@pytest.mark.parametrize("seconds", [99999999999999.0, float("inf")])
@pytest.mark.parametrize("said_of", ["everybody", "a limit"])
def test_who_is_told_an_absurd_time_gives_up_once_nothing_is_in_flight(seconds: float, said_of: str) -> None:
    """With a real condition, which sleeps for no such number: as long as others are in flight they may bring news."""
    pacer = Pacer(4, 120)
    flying = pacer.begin(1)
    if said_of == "everybody":
        pacer.end(pacer.begin(1), closed_for_seconds=seconds)
    else:
        pacer.end(pacer.begin(1), Limits((Allowance("samples", 0, seconds, 5, 60),)))
    told: list[BaseException] = []

    def ask() -> None:
        try:
            pacer.begin(1)
        except BaseException as error:
            told.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(timeout=0.05)
    assert told == []
    pacer.end(flying)
    thread.join(timeout=HANG_SECONDS)
    assert [type(error) for error in told] == [WaitTooLong]


def test_a_long_wait_that_is_allowed_is_waited() -> None:
    """However often it is looked again on the way."""
    pacer, clock = _pacer(longest_wait=1e6)
    pacer.end(pacer.begin(1), closed_for_seconds=10_000)
    assert _waited(pacer, clock) == pytest.approx(10_000)
