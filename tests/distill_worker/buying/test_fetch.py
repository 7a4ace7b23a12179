"""Every sample is paid for once, and no more is sent than was planned."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from threading import Barrier
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from distill_worker.buying.fetch import Callbacks, fetch
from distill_worker.buying.plan import Plan
from distill_worker.buying.planning import plan
from distill_worker.cache import Cache
from distill_worker.errors import PlanRefused, TeacherUnavailable
from distill_worker.teachers.base import Answer, Description, Rate
from shared.sample_key import sample_key
from tests.distill_worker.fake_teacher import FakeTeacher, describe, told
from tests.distill_worker.purchases import (
    CrashingCache,
    Samples,
    assert_bought_once,
    cached_outputs,
    carry_out,
    carry_out_plan,
    order_for,
    plan_for,
)
from tests.endurance import HANG_SECONDS


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[CrashingCache]:
    with CrashingCache(tmp_path / "cache.sqlite") as opened:
        yield opened


@pytest.mark.parametrize("concurrency", [1, 3])
def test_every_sample_is_bought_once_and_kept(cache: CrashingCache, samples: Samples, concurrency: int) -> None:
    teacher, told = FakeTeacher(), list[int]()

    def progress(done: int, made: Plan) -> None:
        assert made.outstanding == 12
        told.append(done)

    assert carry_out(teacher, cache, samples, request_size=5, concurrency=concurrency, progress=progress) == 12
    assert sorted(after - before for before, after in pairwise([0, *told])) == [2, 5, 5]
    assert_bought_once(teacher, cache, samples)


@pytest.mark.parametrize(
    ("done", "took", "left"),
    [
        (6, 3.0, 57.0),  # at the pace so far 3 s more, but 12 samples take a minute
        (6, 90.0, 90.0),  # slower than is allowed
        (11, 60.0, 60 / 11),
        (12, 1.0, 0.0),
        (14, 1.0, 0.0),  # more than was planned: another worker left some
    ],
)
def test_time_that_is_left_follows_the_pace_and_what_is_allowed(
    cache: CrashingCache, samples: Samples, done: int, took: float, left: float
) -> None:
    teacher = FakeTeacher(limit=100, rates=(Rate("samples", 12, 0),))
    assert plan_for(teacher, cache, samples).seconds_left(done, took) == pytest.approx(left)


def test_held_samples_cost_nothing(cache: CrashingCache, samples: Samples) -> None:
    """A second run sends nothing; a larger one sends the difference."""
    teacher = FakeTeacher()
    first = dict(list(samples.items())[:5])
    assert carry_out(teacher, cache, first) == 5
    assert carry_out(teacher, cache, first) == 0
    assert len(teacher.sent) == 2
    made = plan_for(teacher, cache, samples)
    assert (made.wanted, made.cached, len(made.to_buy), made.requests, made.reopened) == (12, 5, 7, 2, ())
    assert carry_out(teacher, cache, samples) == 7
    assert_bought_once(teacher, cache, samples)


def test_plan_spends_nothing_and_counts_the_requests(cache: CrashingCache, samples: Samples) -> None:
    teacher = FakeTeacher(limit=20)
    made = plan_for(teacher, cache, samples, request_size=5)
    assert (made.wanted, made.cached, len(made.to_buy), made.requests, made.shortfall) == (12, 0, 12, 3, 0)
    assert made.quota is not None
    assert (made.quota.limit, made.quota.remaining) == (20, 20)
    assert teacher.sent == []
    assert cache.open_purchases(made.teacher_id) == []


def test_duplicate_images_are_bought_once(cache: CrashingCache) -> None:
    image = np.zeros((1, 2, 2), dtype=np.uint8)
    samples = {sample_key(copy): copy for copy in (image, image.copy(), image + 1, image.copy())}
    teacher = FakeTeacher()
    assert carry_out(teacher, cache, samples, request_size=1) == 2
    assert_bought_once(teacher, cache, samples)


@pytest.mark.parametrize(
    ("request_size", "largest", "sizes"), [(32, 5, [5, 5, 2]), (3, 5, [3, 3, 3, 3]), (32, None, [12])]
)
def test_requests_hold_no_more_than_asked_and_taken(
    cache: CrashingCache, samples: Samples, request_size: int, largest: int | None, sizes: list[int]
) -> None:
    """A request_size larger than the teacher takes is lowered to it, in the plan as in the purchase."""
    teacher = FakeTeacher(description=describe(max_request_size=largest))
    assert plan_for(teacher, cache, samples, request_size).requests == len(sizes)
    carry_out(teacher, cache, samples, request_size=request_size)
    assert [len(keys) for _, keys in teacher.sent] == sizes


class MeetingTeacher(FakeTeacher):
    """Answers its first request at once, and others only when `together` are in flight at once; counts these."""

    together = 3
    most = flying = 0

    def buy(
        self,
        images: NDArray[np.uint8],
        *,
        description: Description,
        idempotency_key: str,
        outputs: tuple[str, ...] = ("logits",),
    ) -> Answer:
        """Wait for the others first."""
        if not self.sent:
            return super().buy(images, description=description, idempotency_key=idempotency_key, outputs=outputs)
        with self._lock:
            self.flying += 1
            self.most = max(self.most, self.flying)
        self.meeting.wait(timeout=HANG_SECONDS)
        answered = super().buy(images, description=description, idempotency_key=idempotency_key, outputs=outputs)
        with self._lock:
            self.flying -= 1
        return answered

    def __post_init__(self) -> None:
        super().__post_init__()
        self.meeting = Barrier(self.together)


def test_as_many_requests_fly_as_allowed_and_no_more(cache: CrashingCache, samples: Samples) -> None:
    """The barrier opens only for three at once, so fewer would time out. The first request goes alone."""
    teacher = MeetingTeacher()
    carry_out(teacher, cache, samples, request_size=3, concurrency=3)
    assert teacher.most == 3
    assert_bought_once(teacher, cache, samples)


def test_first_answer_is_stored_and_judged_before_the_next_request_leaves(
    cache: CrashingCache, samples: Samples
) -> None:
    """A judgement that ends the purchase costs one request, however many may be in flight; the answer is kept."""
    teacher, judged = FakeTeacher(), list[tuple[bytes, ...]]()

    def judge(keys: Sequence[bytes], outputs: Mapping[str, NDArray[np.float32]]) -> None:
        assert np.array_equal(outputs["logits"], told("logits", np.stack([samples[key] for key in keys]), describe()))
        assert cache.holdings(cache.stream("t", "logits")).has_all(keys)
        judged.append(tuple(keys))
        raise PlanRefused("the labels disagree")

    made = plan_for(teacher, cache, samples, request_size=2)
    order = order_for(teacher, cache, samples, request_size=2, concurrency=3)
    with (
        cache.buying() as buyer,
        pytest.raises(PlanRefused, match=r"disagree\. Bought and cached: 2 of 12 samples; nothing more was sent$"),
    ):
        fetch(order, made, samples, buyer=buyer, callbacks=Callbacks(on_answer=judge))
    assert len(teacher.sent) == len(judged) == 1


BOTH = ("features.a", "logits")


def _white_box(**given: Any) -> FakeTeacher:
    return FakeTeacher(description=describe(outputs={"features.a": (2, 1, 3)}), **given)


def _plan(teacher: FakeTeacher, cache: Cache, samples: Samples, *kinds: str) -> Plan:
    return plan(order_for(teacher, cache, samples, kinds=kinds))


def _fetch(teacher: FakeTeacher, cache: Cache, samples: Samples, *kinds: str) -> int:
    made = _plan(teacher, cache, samples, *kinds)
    return carry_out_plan(teacher, cache, made, samples, concurrency=1)


def test_several_kinds_cost_one_call_a_sample_and_serve_each_alone(cache: CrashingCache, samples: Samples) -> None:
    """The logits that came with the features are found by a run that wants no more."""
    teacher = _white_box()
    assert _fetch(teacher, cache, samples, *BOTH) == teacher.paid == len(samples)
    assert set(teacher.asked) == {BOTH}
    for kinds in (BOTH, ("logits",), ("features.a",)):
        assert _plan(teacher, cache, samples, *kinds).cached == len(samples)
    held = cached_outputs(cache, cache.stream("t", "features.a"), samples)
    assert {len(row) for row in held.values()} == {6}
    assert cache.aligned(cache.stream("t", "features.a"), list(samples)).shape == (12, 2, 1, 3)
    assert cache.aligned(cache.stream("t", "logits"), list(samples)).shape == (12, 3)


def test_features_of_samples_whose_logits_are_held_are_paid_again_and_said_so(
    cache: CrashingCache, samples: Samples
) -> None:
    teacher = _white_box()
    half = dict(list(samples.items())[:5])
    _fetch(teacher, cache, half, "logits")
    before = cached_outputs(cache, cache.stream("t", "logits"), half)
    made = _plan(teacher, cache, samples, *BOTH)
    assert (len(made.to_buy), made.again, made.cached) == (12, 5, 0)
    _fetch(teacher, cache, samples, *BOTH)
    assert teacher.paid == 5 + 12
    after = cached_outputs(cache, cache.stream("t", "logits"), half)
    assert {key: row.tobytes() for key, row in after.items()} == {key: row.tobytes() for key, row in before.items()}


@pytest.mark.parametrize("when", ["before", "after"])
def test_white_box_purchase_that_broke_off_is_repeated_as_it_was(
    cache: CrashingCache, samples: Samples, when: Literal["before", "after"]
) -> None:
    """The same key asks for the same outputs, also for a run that wants the logits alone by now."""
    teacher = _white_box(faults=[(when, TeacherUnavailable("lost"))])
    with pytest.raises(TeacherUnavailable):
        _fetch(teacher, cache, samples, *BOTH)
    made = _plan(teacher, cache, samples, "logits")
    assert made.reopened_samples == 4
    _fetch(teacher, cache, samples, "logits")
    assert teacher.asked[0] == teacher.asked[1] == BOTH
    assert teacher.sent[0] == teacher.sent[1]
    assert teacher.paid == len(samples)
    assert cache.missing(cache.stream("t", "logits"), samples) == []


def test_open_purchase_of_logits_is_no_purchase_of_features(cache: CrashingCache, samples: Samples) -> None:
    """It stays open, for it may have been charged; the features are asked for under keys of their own."""
    teacher = _white_box(faults=[("after", TeacherUnavailable("lost"))])
    with pytest.raises(TeacherUnavailable):
        _fetch(teacher, cache, samples, "logits")
    assert _plan(teacher, cache, samples, *BOTH).reopened == ()
    _fetch(teacher, cache, samples, *BOTH)
    assert len(cache.open_purchases("t")) == 1
    assert _plan(teacher, cache, samples, "logits").cached == len(samples)


def test_features_that_are_not_sold_are_refused_before_anything_is_spent(
    cache: CrashingCache, samples: Samples
) -> None:
    with pytest.raises(PlanRefused, match=r"'features.b'.*sells this API key logits, features\.a"):
        _plan(_white_box(), cache, samples, "features.b", "logits")
    with pytest.raises(PlanRefused, match=r"'logits', but the teacher sells this API key nothing\. Nothing was spent"):
        _plan(FakeTeacher(limit=100, description=describe(tells=())), cache, samples, "logits")
    with pytest.raises(PlanRefused, match=r"this API key has no access to features.*keys create --features"):
        _plan(_white_box(limit=100, features=False), cache, samples, *BOTH)
    assert len(_plan(_white_box(limit=100, features=True), cache, samples, *BOTH).to_buy) == 12
