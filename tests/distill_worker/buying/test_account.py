"""Which open purchases under other names are this account's: those that the teacher charged to it, and no others."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from distill_worker.buying.account import charged_under_other_names
from distill_worker.cache import Cache, Purchase
from distill_worker.errors import TeacherError
from distill_worker.teachers.base import LoggedQuery
from tests.distill_worker.fake_teacher import FakeTeacher
from tests.distill_worker.purchases import intend

KEYS = [bytes([index]) * 32 for index in range(4)]


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache.sqlite") as opened:
        yield opened


def _begun(cache: Cache, payer: str, keys: list[bytes]) -> Purchase:
    return intend(cache, cache.stream("t", "logits"), keys, payer=payer)


def _charged(teacher: FakeTeacher, cache: Cache, wanted: list[bytes]) -> frozenset[str]:
    return charged_under_other_names(teacher, teacher.description, cache, wanted)


def _logged(purchase: Purchase, status: str = "settled") -> LoggedQuery:
    return LoggedQuery(purchase.idempotency_key, "r", 1, ("logits",), status, "t", 1.0, 2.0)  # type: ignore[arg-type]


def test_purchases_in_the_teachers_log_are_this_accounts(cache: Cache) -> None:
    charged, in_flight, released, absent = (_begun(cache, "old", [key]) for key in KEYS)
    log = [_logged(charged), _logged(in_flight, "held"), _logged(released, "released")]
    keys = _charged(FakeTeacher(payer="new", log=log), cache, KEYS)
    assert keys == {charged.idempotency_key, in_flight.idempotency_key}
    assert absent.idempotency_key not in keys


class Unread(FakeTeacher):
    """Its log cannot be read."""

    def queries(self, since: float | None = None) -> Iterator[LoggedQuery] | None:  # noqa: ARG002 - see the fake
        """See `Teacher`."""
        raise TeacherError("503")


@pytest.mark.parametrize("teacher", [FakeTeacher(payer="new"), Unread(payer="new")])
def test_without_a_log_they_stay_those_of_another_account(cache: Cache, teacher: FakeTeacher) -> None:
    _begun(cache, "old", KEYS)
    assert _charged(teacher, cache, KEYS) == frozenset()


def test_log_is_read_only_if_it_can_matter(cache: Cache) -> None:
    """Not for purchases under a name of this account, nor for samples that are not wanted."""

    class Unasked(FakeTeacher):
        def queries(self, since: float | None = None) -> Iterator[LoggedQuery] | None:  # noqa: ARG002 - see the fake
            raise AssertionError("the log was read")

    _begun(cache, "new", KEYS[:1])
    _begun(cache, "former", KEYS[1:2])
    _begun(cache, "old", KEYS[2:3])
    assert _charged(Unasked(payer="new", credential="former"), cache, [*KEYS[:2], KEYS[3]]) == frozenset()
