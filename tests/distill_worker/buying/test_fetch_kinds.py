"""Logits and features under open purchases of other kinds: nothing is bought that an open purchase would bring."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from distill_worker.buying.plan import Plan
from distill_worker.buying.planning import plan
from distill_worker.cache import Cache, Claims, Purchase
from distill_worker.errors import PlanRefused, TeacherRefused, TeacherUnavailable
from distill_worker.runs.sampling.targets import load_targets
from shared.durable.process_lock import ProcessLock
from tests.distill_worker.fake_teacher import Crash, FakeTeacher, Fault, answer, describe, features
from tests.distill_worker.purchases import (
    CrashingCache,
    Samples,
    cached_outputs,
    carry_out_plan,
    give_up,
    intend,
    order_for,
)
from tests.endurance import rounds

SHAPES = {"features.a": (2, 1, 3), "features.b": (4,)}
A, B, LOGITS = "features.a", "features.b", "logits"
ALL = (A, B, LOGITS)
LOST: Fault = ("after", TeacherUnavailable("lost"))


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[CrashingCache]:
    with CrashingCache(tmp_path / "cache.sqlite") as opened:
        yield opened


@pytest.fixture
def teacher() -> FakeTeacher:
    return FakeTeacher(description=describe(outputs=SHAPES))


def _plan(teacher: FakeTeacher, cache: Cache, samples: Samples, kinds: Sequence[str], request_size: int = 12) -> Plan:
    return plan(order_for(teacher, cache, samples, request_size=request_size, kinds=tuple(kinds)))


def _fetch(teacher: FakeTeacher, cache: Cache, wanted: Samples, images: Samples, *kinds: str) -> int:
    return carry_out_plan(teacher, cache, _plan(teacher, cache, wanted, kinds), images, concurrency=1)


def _lose(teacher: FakeTeacher, cache: Cache, wanted: Samples, *kinds: str) -> None:
    """A charged purchase whose answer never came."""
    teacher.will(LOST)
    with pytest.raises(TeacherUnavailable):
        _fetch(teacher, cache, wanted, wanted, *kinds)


def _first(samples: Samples, count: int) -> Mapping[bytes, NDArray[np.uint8]]:
    return dict(list(samples.items())[:count])


def _assert_held(cache: Cache, samples: Samples, kinds: Sequence[str] = ALL) -> None:
    """Each output is its own sample's, kind by kind and place by place."""
    images = np.stack(list(samples.values()))
    held = load_targets(cache, "t", list(samples), kinds)
    for kind in kinds:
        expected = answer(images) if kind == LOGITS else features(kind, images, SHAPES[kind])
        assert np.array_equal(held[kind].numpy(), expected), kind


def test_open_purchase_that_brings_all_that_is_lacking_is_repeated(
    cache: CrashingCache, teacher: FakeTeacher, samples: Samples
) -> None:
    """It asks for fewer kinds than are wanted, but the others are held."""
    _lose(teacher, cache, samples, A, LOGITS)
    cache.complete(
        intend(cache, cache.stream("t", B), list(samples), payer="alice"),
        {B: features(B, np.stack(list(samples.values())), SHAPES[B])},
    )
    made = _plan(teacher, cache, samples, ALL)
    assert (made.reopened_samples, made.to_buy, made.again) == (12, (), 0)
    _fetch(teacher, cache, samples, samples, *ALL)
    assert teacher.paid == 12
    assert teacher.asked[0] == teacher.asked[1] == (A, LOGITS)
    _assert_held(cache, samples)


def test_open_purchase_is_repeated_for_the_samples_it_completes_and_the_others_are_bought(
    cache: CrashingCache, teacher: FakeTeacher, samples: Samples
) -> None:
    """Of twelve samples with an open purchase of `a`, five hold `b`; one run ends with everything held."""
    _lose(teacher, cache, samples, A, LOGITS)
    _fetch(teacher, cache, _first(samples, 5), samples, B)
    made = _plan(teacher, cache, samples, ALL)
    assert (made.reopened_samples, made.to_buy, made.again) == (12, tuple(samples)[5:], 7)
    _fetch(teacher, cache, samples, samples, *ALL)
    assert teacher.paid == 12 + 5 + 7
    _assert_held(cache, samples)


def test_one_of_two_open_purchases_is_enough(cache: CrashingCache, teacher: FakeTeacher, samples: Samples) -> None:
    """Neither may have been charged: repeating both would pay for the same logits twice."""
    _lose(teacher, cache, samples, A, LOGITS)
    _lose(teacher, cache, samples, *ALL)
    sent = len(teacher.sent)
    assert _plan(teacher, cache, samples, (A, LOGITS)).requests == 1
    _fetch(teacher, cache, samples, samples, A, LOGITS)
    assert len(teacher.sent) == sent + 1
    assert _plan(teacher, cache, samples, ALL).to_buy == ()


def test_purchase_of_ones_own_is_repeated_rather_than_anothers(
    cache: CrashingCache, teacher: FakeTeacher, samples: Samples
) -> None:
    _lose(teacher, cache, samples, A, LOGITS)
    bob = FakeTeacher(payer="bob", description=teacher.description)
    _lose(bob, cache, samples, *ALL)
    with pytest.raises(PlanRefused, match="another API key"):
        _plan(FakeTeacher(payer="carol", description=teacher.description), cache, samples, (A, LOGITS))
    _fetch(bob, cache, samples, samples, A, LOGITS)
    assert bob.paid == 12
    _assert_held(cache, samples)


def test_samples_in_an_open_purchase_of_logits_count_as_paid_again(
    cache: CrashingCache, teacher: FakeTeacher, samples: Samples
) -> None:
    """The features need a call of their own, whatever became of the first."""
    _lose(teacher, cache, _first(samples, 4), LOGITS)
    made = _plan(teacher, cache, samples, (A, LOGITS))
    assert (made.reopened, len(made.to_buy), made.again) == ((), 12, 4)


def test_abandoning_gives_up_what_would_be_repeated(
    cache: CrashingCache, teacher: FakeTeacher, samples: Samples
) -> None:
    """Both purchases that would bring the features; the one of logits has nothing to do with it and stays."""
    _lose(teacher, cache, samples, LOGITS)
    _lose(teacher, cache, samples, A, LOGITS)
    _lose(teacher, cache, samples, *ALL)
    give_up(order_for(teacher, cache, samples, kinds=(A,), abandon="all"))
    assert _plan(teacher, cache, samples, (A,)).reopened == ()
    assert [purchase.kinds for purchase in _plan(teacher, cache, samples, (LOGITS,)).reopened] == [(LOGITS,)]


def test_output_that_the_key_may_not_see_is_refused_and_closed(
    cache: CrashingCache, teacher: FakeTeacher, samples: Samples
) -> None:
    """Where the quota does not tell, the answer does."""
    teacher.will(("before", TeacherRefused("403 this key may see logits alone")))
    with pytest.raises(TeacherRefused, match="403"):
        _fetch(teacher, cache, samples, samples, A)
    assert _plan(teacher, cache, samples, (A,)).reopened == ()


def test_name_that_would_be_mistaken_for_two_is_refused(cache: CrashingCache, samples: Samples) -> None:
    odd = FakeTeacher(description=describe(outputs={"features.a+b": (1,)}))
    with pytest.raises(PlanRefused, match=r"'\+'.*'features\.a\+b'"):
        _plan(odd, cache, samples, ("features.a+b",))


def test_answer_that_lacks_a_kind_leaves_the_purchase_open(cache: CrashingCache, samples: Samples) -> None:
    """What came is not kept alone, for the purchase could then no longer be repeated."""
    order = cache.order("t", (LOGITS, A))
    purchase = intend(cache, order, list(samples), payer="alice")
    with pytest.raises(KeyError):
        cache.complete(purchase, {A: np.zeros((12, 6), np.float32)})
    assert cache.open_purchases("t") == [purchase]
    assert cache.missing(cache.stream("t", A), samples) == list(samples)


class _Watched(CrashingCache):
    """Fails the test when a purchase is begun for a sample that lacks nothing, or that an open one would complete."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.wanted: frozenset[str] = frozenset()
        self.keys: Sequence[bytes] = ()

    def claim(self, claims: Claims, buyer: ProcessLock, count: int) -> list[Purchase]:
        """See `Cache`."""
        opened = self.open_purchases("t")
        held = {
            (key, kind)
            for kind, stream_id in self.kinds_of("t").items()
            for key in cached_outputs(self, stream_id, self.keys)
        }
        taken = super().claim(claims, buyer, count)
        for key in (key for purchase in taken if not purchase.begun_earlier for key in purchase.sample_keys):
            lacked = {kind for kind in self.wanted if (key, kind) not in held}
            assert lacked, "this sample has everything"
            for purchase in opened:
                assert key not in purchase.sample_keys or not lacked <= set(purchase.kinds), "this would have done"
        return taken


_runs = st.tuples(
    st.sets(st.sampled_from(ALL), min_size=1),
    st.integers(1, 12),
    st.lists(st.sampled_from([None, "before", "after"]), max_size=4),
    st.none() | st.tuples(st.sampled_from(["claim", "complete"]), st.sampled_from(["before", "after"]), st.just(1)),
)


@given(runs=st.lists(_runs, max_size=6), request_size=st.integers(1, 7), concurrency=st.integers(1, 3))
@settings(max_examples=rounds(15, 60))
def test_any_order_of_wishes_and_crashes_buys_nothing_needlessly(
    samples: Samples,
    runs: list[tuple[set[str], int, list[str | None], tuple[str, str, int] | None]],
    request_size: int,
    concurrency: int,
) -> None:
    """Whatever kinds each run wants, of however many samples, and wherever it dies; at the end all is held."""
    teacher = FakeTeacher(description=describe(outputs=SHAPES))
    with TemporaryDirectory() as folder, _Watched(Path(folder) / "cache.sqlite") as cache:
        for kinds, count, whens, crash in [*runs, (set(ALL), 12, [], None)]:
            teacher.will(*[_fault(when) for when in whens])
            cache.crash_at, cache.wanted, cache.keys = crash, frozenset(kinds), list(samples)
            wanted = _first(samples, count)
            made = _plan(teacher, cache, wanted, sorted(kinds), request_size)
            try:
                carry_out_plan(teacher, cache, made, samples, concurrency=concurrency)
            except (Crash, TeacherUnavailable):
                continue
            _assert_held(cache, wanted, sorted(kinds))
        _assert_held(cache, samples)


def _fault(when: str | None) -> Fault:
    return None if when is None else ("before" if when == "before" else "after", TeacherUnavailable("lost"))
