"""Every sample is paid for once, and no more is sent than was planned."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from numpy.typing import NDArray

from distill_worker.fetch import Plan
from distill_worker.teachers.base import Description
from shared.sample_key import sample_key
from tests.distill_worker.fake_teacher import FakeTeacher, describe
from tests.distill_worker.purchases import CrashingCache, Samples, assert_bought_once, carry_out, plan_for


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
    assert cache.open_purchases(made.stream_id) == []


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
    """Answers only when `together` requests are in flight at once, and counts them."""

    together = 3
    most = flying = 0

    def buy(self, images: NDArray[np.uint8], *, description: Description, idempotency_key: str) -> NDArray[np.float32]:
        """Wait for the others first."""
        with self._lock:
            self.flying += 1
            self.most = max(self.most, self.flying)
        self.meeting.wait(timeout=10)
        outputs = super().buy(images, description=description, idempotency_key=idempotency_key)
        with self._lock:
            self.flying -= 1
        return outputs

    def __post_init__(self) -> None:
        super().__post_init__()
        self.meeting = Barrier(self.together)


def test_as_many_requests_fly_as_allowed_and_no_more(cache: CrashingCache, samples: Samples) -> None:
    """The barrier opens only for three at once, so fewer would time out."""
    teacher = MeetingTeacher()
    carry_out(teacher, cache, samples, request_size=2, concurrency=3)
    assert teacher.most == 3
    assert_bought_once(teacher, cache, samples)
