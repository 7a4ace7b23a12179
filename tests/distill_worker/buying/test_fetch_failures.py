"""Whatever fails while buying, and whenever: each sample is paid once, and nothing that was paid is lost."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from distill_worker.errors import (
    CacheError,
    PlanRefused,
    QuotaExhausted,
    TeacherError,
    TeacherRefused,
    TeacherUnavailable,
    WorkerError,
)
from distill_worker.teachers.base import Answer, Description
from tests.distill_worker.fake_teacher import Crash, FakeTeacher, Fault, describe
from tests.distill_worker.purchases import (
    CrashingCache,
    Samples,
    assert_bought_once,
    carry_out,
    carry_out_plan,
    give_up,
    intend,
    order_for,
    plan_for,
)
from tests.endurance import HANG_SECONDS, rounds


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[CrashingCache]:
    with CrashingCache(tmp_path / "cache.sqlite") as opened:
        yield opened


@pytest.mark.parametrize("call", [0, 1, 2])
@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize(
    ("step", "when"),
    [
        ("buy", "before"),
        ("buy", "after"),
        ("claim", "before"),
        ("claim", "after"),
        ("complete", "before"),
        ("complete", "after"),
    ],
)
def test_crash_anywhere_costs_nothing_twice(
    cache: CrashingCache, samples: Samples, step: str, when: str, call: int, concurrency: int
) -> None:
    """The next run repeats the open purchases under their own keys, then buys the rest."""
    teacher = FakeTeacher()
    if step == "buy":
        teacher.will(*[None] * call, ("before" if when == "before" else "after", Crash()))
    else:
        cache.crash_at = (step, when, call)
    with pytest.raises(Crash):
        carry_out(teacher, cache, samples, request_size=2, concurrency=concurrency)
    begun = plan_for(teacher, cache, samples)
    assert begun.cached + begun.reopened_samples + len(begun.to_buy) == 12
    carry_out(teacher, cache, samples, concurrency=concurrency)
    assert_bought_once(teacher, cache, samples)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("error", [TeacherUnavailable("no answer"), TeacherError("nonsense")])
def test_unknown_end_keeps_the_purchase_open(
    cache: CrashingCache, samples: Samples, when: str, error: TeacherError
) -> None:
    """What was bought before is kept, the message says how far it got, and the error keeps its kind and its cause."""
    teacher = FakeTeacher(faults=[None, ("before" if when == "before" else "after", error)])
    with pytest.raises(type(error), match=r"no.*\. Bought and cached: 4 of 12 samples; run the same") as raised:
        carry_out(teacher, cache, samples)
    assert raised.value.__cause__ is error
    assert len(teacher.sent) == 2
    assert [len(opened.sample_keys) for opened in plan_for(teacher, cache, samples).reopened] == [4]
    carry_out(teacher, cache, samples)
    assert_bought_once(teacher, cache, samples)


def test_full_disk_after_paying_costs_nothing_twice(cache: CrashingCache, samples: Samples) -> None:
    teacher = FakeTeacher()
    cache.crash_at, cache.error = ("complete", "before", 1), CacheError("the disk is full")
    with pytest.raises(CacheError, match="full"):
        carry_out(teacher, cache, samples)
    assert teacher.paid == 8
    carry_out(teacher, cache, samples)
    assert_bought_once(teacher, cache, samples)


@pytest.mark.parametrize(
    ("repeats_are_free", "then"),
    [
        (True, "; run the same command again to buy the rest: an answer that could not be stored is repeated"),
        (False, "may have been charged, so it is not sent again.* `distill-worker fetch --abandon all`"),
    ],
)
def test_answer_that_could_not_be_stored_is_promised_again_only_where_repeats_are_free(
    cache: CrashingCache, samples: Samples, repeats_are_free: bool, then: str
) -> None:
    teacher = FakeTeacher(description=replace(describe(), repeats_are_free=repeats_are_free))
    cache.crash_at, cache.error = ("complete", "before", 1), CacheError("the disk is full")
    with pytest.raises(CacheError, match=f"full. Bought and cached: 4 of 12 samples.*{then}") as raised:
        carry_out(teacher, cache, samples)
    assert ("Idempotency-Key" in str(raised.value)) == repeats_are_free
    made = plan_for(teacher, cache, samples)
    assert (made.reopened_samples, made.uncertain) == ((4, 0) if repeats_are_free else (0, 4))


def test_refused_purchase_is_closed_and_may_be_sent_again(cache: CrashingCache, samples: Samples) -> None:
    """A refusal was never charged, so the next run is free to ask under another key."""
    teacher = FakeTeacher(faults=[None, ("before", TeacherRefused("too large"))])
    with pytest.raises(TeacherRefused, match="4 of 12"):
        carry_out(teacher, cache, samples)
    assert plan_for(teacher, cache, samples).reopened == ()
    assert carry_out(teacher, cache, samples) == 8
    assert teacher.paid == 12


def test_exhausted_quota_stops_at_once_and_keeps_what_was_bought(cache: CrashingCache, samples: Samples) -> None:
    """Someone else spends the same key's quota between the plan and the purchase."""
    teacher = FakeTeacher(limit=12)
    made = plan_for(teacher, cache, samples)
    teacher.limit = 6
    with pytest.raises(QuotaExhausted, match=r"2 calls remain\. Bought and cached: 4 of 12 samples.*larger quota"):
        carry_out_plan(teacher, cache, made, samples, concurrency=1)
    assert [len(keys) for _, keys in teacher.sent] == [4, 4]
    assert teacher.paid == 4
    assert plan_for(teacher, cache, samples).cached == 4
    teacher.limit = 12
    assert carry_out(teacher, cache, samples) == 8
    assert teacher.paid == 12


def test_failure_sends_nothing_more_and_keeps_what_was_in_flight(cache: CrashingCache, samples: Samples) -> None:
    """The first of two requests at once is refused; the second is answered only after that was taken in."""

    class Slow(FakeTeacher):
        def buy(
            self,
            images: NDArray[np.uint8],
            *,
            description: Description,
            idempotency_key: str,
            outputs: tuple[str, ...] = ("logits",),
        ) -> Answer:
            answered = super().buy(images, description=description, idempotency_key=idempotency_key, outputs=outputs)
            assert len(self.sent) == 1 or cache.voided.wait(timeout=HANG_SECONDS)
            return answered

    teacher = Slow(faults=[None, ("before", TeacherRefused("too large"))])
    with pytest.raises(TeacherRefused, match=r"4 of 12"):
        carry_out(teacher, cache, samples, request_size=2, concurrency=2)
    assert len(teacher.sent) == 3
    assert plan_for(teacher, cache, samples).cached == 4


def test_unaffordable_plan_is_refused_and_nothing_is_sent(cache: CrashingCache, samples: Samples) -> None:
    teacher = FakeTeacher(limit=7)
    made = plan_for(teacher, cache, samples)
    assert made.shortfall == 5
    with pytest.raises(PlanRefused, match=r"for 12 calls .*got 7 of 7 calls left.*Lower n by 5"):
        carry_out_plan(teacher, cache, made, samples, concurrency=1)
    assert teacher.sent == []
    assert cache.open_purchases(made.teacher_id) == []


def test_repeating_charged_purchases_needs_no_quota(cache: CrashingCache, samples: Samples) -> None:
    """Everything was charged and the answer lost: nothing remains, and nothing more is needed."""
    teacher = FakeTeacher(limit=12, faults=[("after", Crash())])
    with pytest.raises(Crash):
        carry_out(teacher, cache, samples, request_size=12)
    assert teacher.quota().remaining == 0  # type: ignore[union-attr]
    assert carry_out(teacher, cache, samples, request_size=12) == 12
    assert_bought_once(teacher, cache, samples)


def test_open_purchase_of_another_payer_is_refused_until_abandoned(cache: CrashingCache, samples: Samples) -> None:
    """Alice may have paid: with Bob's key the same Idempotency-Key would be another purchase."""
    alice = FakeTeacher(faults=[("after", Crash())])
    with pytest.raises(Crash):
        carry_out(alice, cache, samples)
    bob = FakeTeacher(payer="bob")
    with pytest.raises(PlanRefused, match=r"another API key.*--abandon"):
        carry_out(bob, cache, samples)
    assert bob.sent == []
    locked_out = FakeTeacher(payer="mistyped", quota_error=TeacherError("401"))
    with pytest.raises(TeacherError, match="401"):
        give_up(order_for(locked_out, cache, samples, abandon="other-keys"))
    give_up(order_for(bob, cache, samples, abandon="other-keys"))
    assert carry_out(bob, cache, samples) == 12
    assert bob.paid == 12


def test_refused_repetition_stays_open_because_the_first_attempt_may_have_paid(
    cache: CrashingCache, samples: Samples
) -> None:
    """The answer was lost, and the teacher came back with a smaller limit: closing the purchase would pay twice."""
    teacher = FakeTeacher(faults=[("after", Crash())])
    with pytest.raises(Crash):
        carry_out(teacher, cache, samples, request_size=12)
    teacher.will(("before", TeacherRefused("400 too many samples")))
    with pytest.raises(TeacherRefused, match=r"may have been charged.*--abandon all"):
        carry_out(teacher, cache, samples, request_size=12)
    give_up(order_for(teacher, cache, samples, abandon="other-keys"))
    assert carry_out(teacher, cache, samples, request_size=4) == 12
    assert teacher.paid == 12


def test_abandoning_leaves_purchases_of_other_samples(cache: CrashingCache, samples: Samples) -> None:
    stream_id = cache.stream("t", "logits")
    keys = list(samples)
    mine, other = (intend(cache, stream_id, part, payer="alice") for part in (keys[:3], keys[3:6]))
    give_up(order_for(FakeTeacher(payer="alice"), cache, {keys[2]: samples[keys[2]]}, abandon="all"))
    assert cache.open_purchases("t") == [other]
    assert mine != other


def test_open_purchase_is_repeated_whole_when_fewer_samples_are_wanted(cache: CrashingCache, samples: Samples) -> None:
    """The same key needs the same request; its other samples come from the rest of the data set."""
    teacher = FakeTeacher(faults=[("after", Crash())])
    with pytest.raises(Crash):
        carry_out(teacher, cache, samples)
    fewer = dict(list(samples.items())[:1])
    made = plan_for(teacher, cache, fewer)
    carry_out_plan(teacher, cache, made, samples, concurrency=1)
    assert teacher.sent[0] == teacher.sent[1]
    assert plan_for(teacher, cache, samples).cached == 4


def test_open_purchase_of_another_data_set_is_explained(cache: CrashingCache, samples: Samples) -> None:
    teacher = FakeTeacher(faults=[("after", Crash())])
    with pytest.raises(Crash):
        carry_out(teacher, cache, samples)
    with pytest.raises(WorkerError, match="another data set"):
        carry_out(teacher, cache, dict(list(samples.items())[:1]))
    assert teacher.paid == 4


def test_another_teacher_is_bought_from_anew(cache: CrashingCache, samples: Samples) -> None:
    for teacher in (FakeTeacher(), FakeTeacher(description=describe("u"))):
        assert carry_out(teacher, cache, samples) == 12
        assert_bought_once(teacher, cache, samples)


_faults = st.sampled_from([None, "before", "after"])
_cache_crashes = st.none() | st.tuples(
    st.sampled_from(["claim", "complete"]), st.sampled_from(["before", "after"]), st.integers(0, 4)
)


@given(
    runs=st.lists(st.tuples(st.lists(_faults, max_size=6), _cache_crashes), max_size=4),
    request_size=st.integers(1, 7),
    concurrency=st.integers(1, 3),
)
@settings(max_examples=rounds(12, 40))
def test_any_schedule_of_crashes_pays_once(
    samples: Samples,
    runs: list[tuple[list[str | None], tuple[str, str, int] | None]],
    request_size: int,
    concurrency: int,
) -> None:
    """However many runs fail wherever they fail, at the end paid == n."""
    teacher = FakeTeacher(limit=len(samples))
    with TemporaryDirectory() as folder, CrashingCache(Path(folder) / "cache.sqlite") as cache:
        for whens, crash in [*runs, ([], None)]:
            faults: list[Fault] = [
                when and ("before" if when == "before" else "after", TeacherUnavailable("lost"))  # type: ignore[misc]
                for when in whens
            ]
            teacher.will(*faults)
            cache.crash_at = crash
            try:
                carry_out(teacher, cache, samples, request_size=request_size, concurrency=concurrency)
            except (Crash, TeacherUnavailable):
                continue
        assert_bought_once(teacher, cache, samples)
