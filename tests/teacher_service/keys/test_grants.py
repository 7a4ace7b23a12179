"""Grants under a reference, and terms that several operators change: each done once, and nothing lost."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from teacher_service.errors.service_errors import (
    IdempotencyMismatch,
    LedgerUnavailable,
    QuotaTooLarge,
    Unauthorized,
    UnknownKey,
)
from teacher_service.policy.key_terms import KeyTerms, TermChanges
from teacher_service.policy.output_policy import OutputPolicy
from teacher_service.policy.quota import MAX_QUOTA
from tests.teacher_service.ledger_file import Books, Commits, open_books, rows


@pytest.fixture
def either(ledger_place: Path | str) -> Iterator[Books]:
    """An empty ledger of each kind of database."""
    with open_books(ledger_place) as opened:
        yield opened


def test_grant_is_granted_once_under_a_reference(either: Books) -> None:
    """And tells the same later, whatever was granted and when since then."""
    key = either.key(5)
    either.clock.now = 100.0
    first = either.keys.grant(key, 7, "term", "word")
    either.clock.now = 200.0
    either.keys.grant(key, 1, "gift")
    again = either.keys.grant(key, 7, "term", "word")
    assert (first.repeated, again.repeated) == (False, True)
    assert first.grant == again.grant
    assert (first.limit, again.limit) == (12, 12)
    assert (again.quota.limit, either.keys.show(key).quota.limit) == (13, 13)


def test_grants_from_several_services_at_once_are_granted_once(ledger_place: Path | str) -> None:
    """Each with its own connections, as replicas have."""
    with ExitStack() as stack:
        peers = [stack.enter_context(open_books(ledger_place)) for _ in range(3)]
        key = peers[0].key(5)
        with ThreadPoolExecutor(12) as pool:
            granted = list(pool.map(lambda turn: peers[turn % 3].keys.grant(key, 7, "term", "word"), range(12)))
        assert [grant.repeated for grant in granted].count(False) == 1
        assert {(grant.grant, grant.limit) for grant in granted} == {(granted[0].grant, 12)}
    assert rows(ledger_place, "SELECT quota FROM api_keys") == [(12,)]
    assert rows(ledger_place, "SELECT samples FROM grants ORDER BY id") == [(5,), (7,)]


def test_grant_whose_commit_failed_is_granted_by_its_repetition(either: Books) -> None:
    key = either.key(5)
    Commits(either.engine).failing = 1
    with pytest.raises(LedgerUnavailable):
        either.keys.grant(key, 7, "term", "word")
    assert not either.keys.grant(key, 7, "term", "word").repeated
    assert either.keys.show(key).quota.limit == 12


def test_refused_grant_leaves_its_reference_free(either: Books) -> None:
    key = either.key(5)
    with pytest.raises(QuotaTooLarge):
        either.keys.grant(key, MAX_QUOTA, "term", "word")
    assert not either.keys.grant(key, 7, "term", "word").repeated
    for samples, reason in ((8, "term"), (7, "other"), (MAX_QUOTA, "term")):
        with pytest.raises(IdempotencyMismatch, match=r"7 samples \(term\) that was made under 'word'"):
            either.keys.grant(key, samples, reason, "word")
    assert either.keys.show(key).quota.limit == 12


def test_references_belong_to_their_key(either: Books) -> None:
    granted = [either.keys.grant(either.key(5), 7, "term", "word") for _ in range(2)]
    assert [grant.repeated for grant in granted] == [False, False]


def test_terms_that_several_change_at_once_are_all_changed(ledger_place: Path | str) -> None:
    """A change that read the key and wrote all of it back would undo its neighbour's."""
    changes: list[TermChanges] = [
        {"holder": "Ada"},
        {"outputs": OutputPolicy.parse("label")},
        {"expires_at": 5e9},
        {"requests_per_minute": None},
        {"samples_per_minute": 70},
        {"max_concurrent": 2},
    ]
    with ExitStack() as stack:
        peers = [stack.enter_context(open_books(ledger_place)) for _ in changes]
        key = peers[0].keys.create("mine", 5, terms=KeyTerms(requests_per_minute=9)).id
        with ThreadPoolExecutor(len(changes)) as pool:
            list(pool.map(lambda peer, named: peer.keys.change(key, **named), peers, changes))
        quota = peers[0].keys.show(key).quota
    assert quota.terms == KeyTerms("Ada", OutputPolicy.parse("label"), 5e9, None, 70, 2)
    assert quota.revision == len(changes)


@pytest.mark.parametrize("key_id", ["\x00", "a\x00b", "\udcff", "a_b", "", "x" * 33])
def test_what_no_database_can_look_for_is_an_unknown_key(either: Books, key_id: str) -> None:
    """PostgreSQL refuses a null character, and neither takes half of a character."""
    keys = either.keys
    for call in (
        lambda: keys.show(key_id),
        lambda: keys.grant(key_id, 1, "lost"),
        lambda: keys.rotate(key_id),
        lambda: keys.change(key_id, holder="x"),
    ):
        with pytest.raises(UnknownKey):
            call()
    assert keys.revoke(key_id) is False
    if key_id.isascii():
        with pytest.raises(Unauthorized):
            keys.authenticate(f"tk_{key_id}_{'0' * 64}")
