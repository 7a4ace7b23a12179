"""Which payers of open purchases are this account by a former name: those whose purchases its log has."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from distill_worker.buying.account import former_payers
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


def _names(teacher: FakeTeacher, cache: Cache, wanted: list[bytes]) -> frozenset[str]:
    return former_payers(teacher, teacher.description, cache, wanted)


def _logged(purchase: Purchase, status: Literal["held", "settled", "released"] = "settled") -> LoggedQuery:
    return LoggedQuery(purchase.idempotency_key, "r", 1, ("logits",), status, "t", 1.0, 2.0)


def test_names_with_a_purchase_in_the_teachers_log_are_this_accounts(cache: Cache) -> None:
    """Whatever became of it: the account sent it. The open purchase itself need not have arrived."""
    old, older, bob = (_begun(cache, payer, [key]) for payer, key in zip(("old", "older", "bob"), KEYS, strict=False))
    sent = _begun(cache, "older", KEYS[3:])
    teacher = FakeTeacher(payer="new", credential="hash", log=[_logged(old, "held"), _logged(sent, "released")])
    assert _names(teacher, cache, KEYS) == {"old", "older"}
    assert {older.payer, bob.payer} == {"older", "bob"}


class Unread(FakeTeacher):
    """Its log cannot be read."""

    def queries(self, since: float | None = None) -> Iterator[LoggedQuery] | None:  # noqa: ARG002 - see the fake
        """See `Teacher`."""
        raise TeacherError("503")


@pytest.mark.parametrize("teacher", [FakeTeacher(payer="new"), Unread(payer="new")])
def test_without_a_log_they_stay_other_accounts(cache: Cache, teacher: FakeTeacher) -> None:
    _begun(cache, "old", KEYS)
    assert _names(teacher, cache, KEYS) == frozenset()


def test_log_is_read_only_if_it_can_matter(cache: Cache) -> None:
    """Not for purchases under a name of this account, nor for samples that are not wanted."""

    class Unasked(FakeTeacher):
        def queries(self, since: float | None = None) -> Iterator[LoggedQuery] | None:  # noqa: ARG002 - see the fake
            raise AssertionError("the log was read")

    _begun(cache, "new", KEYS[:1])
    _begun(cache, "former", KEYS[1:2])
    _begun(cache, "old", KEYS[2:3])
    teacher = Unasked(payer="new", credential="former")
    assert _names(teacher, cache, [*KEYS[:2], KEYS[3]]) == frozenset()
