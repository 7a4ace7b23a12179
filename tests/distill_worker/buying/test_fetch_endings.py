"""Whatever ends a purchase, what is in flight is kept, and no more is asked for than was agreed to."""

import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import event

from distill_worker.buying.fetch import fetch
from distill_worker.buying.order import claims_on
from distill_worker.buying.plan import Plan
from distill_worker.buying.planning import plan
from distill_worker.cache import Cache
from distill_worker.errors import (
    AnswerExpired,
    CacheError,
    PlanRefused,
    TeacherChanged,
    TeacherError,
    TeacherUnavailable,
)
from distill_worker.teachers.base import Answer, Description
from tests.distill_worker.fake_teacher import Crash, FakeTeacher, describe
from tests.distill_worker.purchases import (
    CrashingCache,
    Samples,
    assert_bought_once,
    carry_out,
    give_up,
    order_for,
    plan_for,
)
from tests.endurance import HANG_SECONDS

CHARGES_REPEATS = replace(describe(), repeats_are_free=False)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[CrashingCache]:
    with CrashingCache(tmp_path / "cache.sqlite") as opened:
        yield opened


class SlowTeacher(FakeTeacher):
    """The first request is answered at once, those beside it when `go` is set."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.go = Event()

    def buy(
        self,
        images: NDArray[np.uint8],
        *,
        description: Description,
        idempotency_key: str,
        outputs: tuple[str, ...] = ("logits",),
    ) -> Answer:
        """Charge, and then wait."""
        told = super().buy(images, description=description, idempotency_key=idempotency_key, outputs=outputs)
        if len(self.charged) > 1:
            assert self.go.wait(HANG_SECONDS)
        return told

    def stop(self) -> None:
        """What is in flight lands from now on."""
        super().stop()
        self.go.set()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Crash()])
def test_interrupted_purchase_keeps_what_is_in_flight(
    cache: CrashingCache, samples: Samples, error: BaseException
) -> None:
    """Ctrl-C after the first answer: what was sent is charged, so it is waited for and kept; nothing more is sent."""
    teacher = SlowTeacher(description=CHARGES_REPEATS)

    def interrupt(_done: int, _plan: Plan) -> None:
        if teacher.paid > 4:
            raise error

    teacher.go.set()
    with pytest.raises(type(error)):
        carry_out(teacher, cache, samples, request_size=2, concurrency=3, progress=interrupt)
    assert teacher.paid < len(samples)
    assert len(cache.holdings(cache.stream("t", "logits"))) == teacher.paid


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["SIGINT", "SIGTERM", "SIGHUP"])
def test_interrupt_at_any_statement_keeps_what_is_paid_for(
    tmp_path: Path, samples: Samples, told: signal.Signals
) -> None:
    """Also at the one that begins a transaction: a lock that it takes is not left taken."""
    before = signal.signal(told, signal.default_int_handler)
    try:
        moments = [_interrupted_at(tmp_path / f"{moment}.sqlite", samples, told, moment) for moment in range(1, 60)]
        assert signal.getsignal(told) is signal.default_int_handler, "as it was"
    finally:
        signal.signal(told, before)
    assert sum(paid < len(samples) for paid in moments) >= 20, "in the middle of it"


def _interrupted_at(place: Path, samples: Samples, told: signal.Signals, moment: int) -> int:
    """How many samples are paid for, and kept, when the signal comes right after the statement of this number."""
    teacher, statements = FakeTeacher(description=CHARGES_REPEATS), count(1)
    with Cache(place) as cache:
        stream_id = cache.stream("t", "logits")
        made = plan_for(teacher, cache, samples, request_size=2)

        def interrupt(*_: object) -> None:
            if next(statements) == moment:
                signal.raise_signal(told)

        with cache.buying() as buyer:
            event.listen(cache._engine, "after_cursor_execute", interrupt)
            with suppress(KeyboardInterrupt):
                order = order_for(teacher, cache, samples, request_size=2, concurrency=3)
                fetch(order, made, samples, buyer=buyer)
            event.remove(cache._engine, "after_cursor_execute", interrupt)
        assert len(cache.holdings(stream_id)) == teacher.paid
    return teacher.paid


@pytest.mark.parametrize("step", ["claim", "complete"])
def test_failing_cache_keeps_the_other_answers(cache: CrashingCache, samples: Samples, step: str) -> None:
    """The disk is full for one answer, or for the next intention; those in flight beside it are kept."""
    teacher = FakeTeacher()
    cache.crash_at, cache.error = (step, "before", 1), CacheError("the disk is full")
    with pytest.raises(CacheError, match="full"):
        carry_out(teacher, cache, samples, request_size=2, concurrency=3)
    lost = 2 if step == "complete" else 0
    assert len(cache.holdings(cache.stream("t", "logits"))) == teacher.paid - lost
    carry_out(teacher, cache, samples, request_size=2)
    assert_bought_once(teacher, cache, samples)


def _plan(teacher: FakeTeacher, cache: Cache, samples: Samples, max_calls: int | None) -> Plan:
    return plan(order_for(teacher, cache, samples, max_calls=max_calls))


def _fetch(teacher: FakeTeacher, cache: Cache, made: Plan, samples: Samples) -> int:
    with cache.buying() as buyer:
        order = order_for(teacher, cache, samples, concurrency=2, max_calls=made.max_calls)
        return fetch(order, made, samples, buyer=buyer, bound=True, sleep=lambda _: None)


def test_samples_that_another_worker_leaves_are_not_bought_beyond_the_agreed_number(
    cache: CrashingCache, samples: Samples, tmp_path: Path
) -> None:
    """It was buying eight of twelve when the price was said; then it gives them up."""
    keys, teacher = list(samples), FakeTeacher()
    with Cache(tmp_path / "cache.sqlite") as theirs:
        with theirs.buying() as other:
            claims = claims_on(theirs, describe(), ("logits",), keys[:8], payer="alice", request_size=4)
            begun = theirs.claim(claims, other, 2)
            made = _plan(teacher, cache, samples, None)
            assert (made.elsewhere, made.most_calls) == (8, 4)
            for purchase in begun:
                theirs.void(purchase)
        with pytest.raises(PlanRefused, match=r"cached: 4 samples; not sent: 8 samples.*exceed the agreed number"):
            _fetch(teacher, cache, made, samples)
    assert teacher.paid == 4


@pytest.mark.parametrize("max_calls", [0, 3, 4, 6, 12])
def test_purchases_begun_earlier_count_among_the_most_calls(
    cache: CrashingCache, samples: Samples, max_calls: int
) -> None:
    """Nobody knows whether they were charged, and here they were not."""
    teacher = FakeTeacher(faults=[("before", TeacherUnavailable("lost"))])
    with pytest.raises(TeacherUnavailable):
        carry_out(teacher, cache, samples)
    assert teacher.paid == 0
    made = _plan(teacher, cache, samples, max_calls)
    assert made.most_calls <= max_calls
    again = FakeTeacher()
    try:
        _fetch(again, cache, made, samples)
    except PlanRefused:
        assert max_calls < 4
    assert again.paid == (max_calls if max_calls >= 4 else 0)


def test_failure_that_was_certainly_not_charged_leaves_nothing_uncertain(
    cache: CrashingCache, samples: Samples
) -> None:
    """Where repeats cost: the teacher was down, so the next run buys all, and asks nobody to abandon anything."""
    teacher = FakeTeacher(
        description=CHARGES_REPEATS, faults=[None, ("before", TeacherUnavailable("down", unpaid=True))]
    )
    with pytest.raises(TeacherUnavailable):
        carry_out(teacher, cache, samples)
    assert plan_for(teacher, cache, samples).uncertain == 0
    assert carry_out(teacher, cache, samples) == 8
    assert teacher.paid == 12


def test_failure_that_may_have_been_charged_is_left_alone_and_the_others_are_bought(
    cache: CrashingCache, samples: Samples
) -> None:
    teacher = FakeTeacher(description=CHARGES_REPEATS, faults=[None, ("after", TeacherError("lost"))])
    with pytest.raises(TeacherError, match="lost"):
        carry_out(teacher, cache, samples)
    with pytest.raises(TeacherError, match=r"cached: 4 samples; not sent again: 4 samples.*--abandon all"):
        carry_out(teacher, cache, samples)
    assert teacher.paid == 12
    assert len({key for key, _ in teacher.sent}) == len(teacher.sent) == 3


def test_expired_answer_is_left_alone_and_the_others_are_bought(cache: CrashingCache, samples: Samples) -> None:
    teacher = FakeTeacher(faults=[("after", TeacherUnavailable("lost"))])
    with pytest.raises(TeacherUnavailable):
        carry_out(teacher, cache, samples)
    teacher.will(("before", AnswerExpired("410: kept no more")))
    with pytest.raises(TeacherError, match=r"cached: 8 samples; not sent again: 4 samples"):
        carry_out(teacher, cache, samples)
    assert teacher.paid == 12


class RenamedTeacher(FakeTeacher):
    """Says that it is `t`, and answers as `u`."""

    def buy(
        self,
        images: NDArray[np.uint8],
        *,
        description: Description,
        idempotency_key: str,
        outputs: tuple[str, ...] = ("logits",),
    ) -> Answer:
        """Under another name."""
        told = super().buy(images, description=description, idempotency_key=idempotency_key, outputs=outputs)
        return replace(told, teacher_id="u")


def test_answer_of_another_teacher_is_kept_as_its_own_and_ends_the_purchase(
    cache: CrashingCache, samples: Samples
) -> None:
    """Where repeats cost, one request shows it."""
    teacher = RenamedTeacher(description=CHARGES_REPEATS)
    with pytest.raises(TeacherChanged, match=r"expected an answer of teacher t, got one of u.*4 of 12"):
        carry_out(teacher, cache, samples, concurrency=3)
    assert teacher.paid == 4
    assert len(cache.holdings(cache.stream("u", "logits"))) == 4
    assert len(cache.holdings(cache.stream("t", "logits"))) == 0


def test_teacher_that_always_answers_as_another_is_not_paid_twice(cache: CrashingCache, samples: Samples) -> None:
    """The samples it was paid for are not asked again under the first name."""
    teacher = RenamedTeacher(description=CHARGES_REPEATS)
    with pytest.raises(TeacherChanged):
        carry_out(teacher, cache, samples)
    with pytest.raises(PlanRefused, match=r"got answers of u for 4 of these samples.*teacher\.model_version"):
        carry_out(teacher, cache, samples)
    assert teacher.paid == 4


def test_teacher_that_never_answered_gets_no_further_request(cache: CrashingCache, samples: Samples) -> None:
    """Each repetition of the command would pay for one more sample."""
    teacher = FakeTeacher(description=CHARGES_REPEATS)
    teacher.will(("after", TeacherError("500")))
    with pytest.raises(TeacherError, match=r"not sent again: compare with the bill, then .* --abandon all"):
        carry_out(teacher, cache, samples, request_size=1)
    for _ in range(2):
        with pytest.raises(PlanRefused, match="1 sample may have been charged"):
            carry_out(teacher, cache, samples, request_size=1)
    assert teacher.paid == 1
    give_up(order_for(teacher, cache, samples, abandon="all"))
    carry_out(teacher, cache, samples)
    assert teacher.paid == 1 + len(samples)


def test_lost_answer_of_a_teacher_that_answered_leaves_the_other_samples_for_sale(
    cache: CrashingCache, samples: Samples
) -> None:
    teacher = FakeTeacher(description=CHARGES_REPEATS)
    teacher.will(None, ("after", TeacherError("500")))
    with pytest.raises(TeacherError, match="not sent again"):
        carry_out(teacher, cache, samples, request_size=1)
    with pytest.raises(TeacherError, match="1 sample, which may have been charged"):
        carry_out(teacher, cache, samples, request_size=1)
    assert teacher.paid == len(samples)
