"""What was damaged here is asked for again as it was asked before: the teacher has the answer that was paid for."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from distill_worker.cache import Cache
from distill_worker.cache.verify import verify
from distill_worker.errors import AnswerExpired, TeacherError
from tests.distill_worker.fake_teacher import FakeTeacher, describe
from tests.distill_worker.purchases import Samples, assert_bought_once, carry_out, plan_for

VECTORS = "UPDATE blocks SET vectors = zeroblob(48) WHERE id = 2"
"""Of all four samples of the second purchase."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.sqlite"


@pytest.fixture
def teacher(path: Path, samples: Samples) -> FakeTeacher:
    """One that sold all twelve samples, in three requests."""
    teacher = FakeTeacher()
    with Cache(path) as cache:
        assert carry_out(teacher, cache, samples) == 12
    return teacher


@pytest.fixture
def cache(path: Path, teacher: FakeTeacher, request: pytest.FixtureRequest) -> Iterator[Cache]:
    """What was bought, spoilt by a statement and repaired."""
    assert teacher.paid == 12
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(getattr(request, "param", VECTORS))
    with Cache(path) as opened:
        assert verify(opened, repair=True).repaired == 4
        yield opened


def test_repeating_what_was_paid_for_brings_it_back_for_nothing(
    cache: Cache, teacher: FakeTeacher, samples: Samples
) -> None:
    made = plan_for(teacher, cache, samples)
    assert (made.cached, made.reopened_samples, made.to_buy) == (8, 4, ())
    assert carry_out(teacher, cache, samples) == 4
    assert_bought_once(teacher, cache, samples)
    assert verify(cache).damages == []
    assert carry_out(teacher, cache, samples) == 0
    assert len(teacher.sent) == 4


@pytest.mark.parametrize("cache", ["UPDATE purchases SET sample_keys = zeroblob(128) WHERE id = 2"], indirect=True)
def test_request_whose_own_samples_are_not_known_any_more_is_not_repeated(
    cache: Cache, teacher: FakeTeacher, samples: Samples
) -> None:
    """What it paid for is bought anew, and nothing else stands in the way."""
    assert plan_for(teacher, cache, samples).reopened == ()
    assert carry_out(teacher, cache, samples) == 4
    assert teacher.paid == 16


def test_account_that_did_not_pay_buys_it(cache: Cache, samples: Samples) -> None:
    bob = FakeTeacher(payer="bob")
    assert carry_out(bob, cache, samples) == 4
    assert bob.paid == 4


def test_teacher_that_charges_repeats_is_asked_anew(cache: Cache, teacher: FakeTeacher, samples: Samples) -> None:
    teacher.description = replace(describe(), repeats_are_free=False)
    assert plan_for(teacher, cache, samples).reopened == ()
    assert carry_out(teacher, cache, samples) == 4
    assert teacher.paid == 16


def test_part_of_it_is_not_worth_asking_about_samples_that_nobody_wants(
    cache: Cache, teacher: FakeTeacher, samples: Samples
) -> None:
    some = dict(list(samples.items())[:6])
    assert plan_for(teacher, cache, some).reopened == ()
    assert carry_out(teacher, cache, some) == 2
    assert teacher.paid == 14


def test_answer_that_is_kept_no_more_is_told_and_not_paid_again_unasked(
    cache: Cache, teacher: FakeTeacher, samples: Samples
) -> None:
    teacher.will(("before", AnswerExpired("410: kept no more")))
    with pytest.raises(TeacherError, match=r"4 are left alone.*--abandon all"):
        carry_out(teacher, cache, samples)
    assert teacher.paid == 12
