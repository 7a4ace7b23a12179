"""The keys of a ledger: recognised, listed, revoked, and never readable from the file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from teacher_service.errors.service_errors import (
    LedgerUnavailable,
    NameTaken,
    QuotaExceeded,
    QuotaTooLarge,
    Unauthorized,
    UnknownKey,
)
from teacher_service.keys.api_key import new_key
from teacher_service.keys.grants import Grant
from teacher_service.policy.key_terms import KeyTerms
from teacher_service.policy.output_policy import OutputPolicy
from teacher_service.policy.quota import MAX_QUOTA
from tests.teacher_service.ledger_file import WAIT_SECONDS, Books, open_books, query, rows, table_gone

SEEING = KeyTerms(outputs=OutputPolicy.parse("logits,features"))


def test_key_is_recognised_with_its_quota(books: Books) -> None:
    books.keys.create("other", 3)
    key = books.keys.create("mine", 7)
    quota = books.keys.authenticate(key.token)
    assert (quota.key_id, quota.name, quota.limit, quota.used, quota.reserved) == (key.id, "mine", 7, 0, 0)
    assert quota.remaining == 7


def test_remaining_is_the_limit_less_used_and_reserved(books: Books) -> None:
    key = books.keys.create("mine", 10)
    rows(books.path, "UPDATE api_keys SET used = 3, reserved = 5 WHERE id = ?", key.id)
    quota = books.keys.authenticate(key.token)
    assert (quota.used, quota.reserved, quota.remaining) == (3, 5, 2)


def test_secret_is_nowhere_in_the_file(books: Books, tmp_path: Path) -> None:
    secret = books.keys.create("mine", 1).token.rsplit("_", 1)[1].encode()
    assert b"mine" in b"".join(file.read_bytes() for file in tmp_path.glob("ledger.sqlite*") if file.is_file())
    assert all(secret not in file.read_bytes() for file in tmp_path.glob("ledger.sqlite*") if file.is_file())


@pytest.fixture
def either(ledger_place: Path | str) -> Iterator[Books]:
    """An empty ledger of each kind of database."""
    with open_books(ledger_place) as opened:
        yield opened


def test_grants_add_up_to_the_quota_and_are_kept(either: Books) -> None:
    either.clock.now = 100.0
    key = either.keys.create("mine", 5)
    either.clock.now = 200.0
    assert either.keys.grant(key.id, 7, "second term").limit == 12
    either.keys.grant(key.id, 1, "a gift")
    history = either.keys.show(key.id)
    assert history.grants == [Grant(5, "created", 100.0), Grant(7, "second term", 200.0), Grant(1, "a gift", 200.0)]
    assert (history.quota.limit, history.quota.remaining, history.revoked) == (13, 13, False)
    assert either.keys.authenticate(key.token).limit == 13


def test_grant_counts_at_once_and_takes_nothing_from_what_is_held(either: Books) -> None:
    key = either.key(3)
    either.ledger.reserve(query(key, 3)).result(WAIT_SECONDS)
    with pytest.raises(QuotaExceeded):
        either.ledger.reserve(query(key, 1)).result(WAIT_SECONDS)
    assert either.keys.grant(key, 2, "more").quota.remaining == 2
    either.ledger.reserve(query(key, 2)).result(WAIT_SECONDS)
    assert either.counts(key) == (0, 5)


def test_grant_beyond_the_largest_quota_or_to_nobody_is_refused(either: Books) -> None:
    key = either.key(5)
    with pytest.raises(QuotaTooLarge, match=rf"^samples: expected at most {MAX_QUOTA - 5} more .* got {MAX_QUOTA}$"):
        either.keys.grant(key, MAX_QUOTA, "too much")
    assert either.keys.grant(key, MAX_QUOTA - 5, "all there is").limit == MAX_QUOTA
    for call in (lambda: either.keys.grant("nobody", 1, "lost"), lambda: either.keys.show("nobody")):
        with pytest.raises(UnknownKey, match="'nobody'"):
            call()
    assert sum(grant.samples for grant in either.keys.show(key).grants) == MAX_QUOTA


def test_rotating_changes_the_secret_alone(either: Books) -> None:
    key = either.keys.create("mine", 5, terms=SEEING)
    fresh = either.keys.rotate(key.id)
    assert (fresh.id, fresh.token != key.token) == (key.id, True)
    with pytest.raises(Unauthorized):
        either.keys.authenticate(key.token)
    quota = either.keys.authenticate(fresh.token)
    assert (quota.key_id, quota.limit, str(quota.terms.outputs)) == (key.id, 5, "logits,features")


def test_revoked_or_unknown_key_cannot_be_rotated(either: Books) -> None:
    """A new secret would bring it back to life."""
    key = either.keys.create("mine", 5)
    either.keys.revoke(key.id)
    for key_id in (key.id, "nobody"):
        with pytest.raises(UnknownKey):
            either.keys.rotate(key_id)


def test_wrong_tokens_are_refused_alike(books: Books) -> None:
    """An answer that tells unknown from wrong or revoked would help whoever guesses."""
    mine, revoked = books.keys.create("mine", 1), books.keys.create("revoked", 1)
    books.keys.revoke(revoked.id)
    stranger = new_key()
    wrong_secret = f"tk_{mine.id}_{stranger.token.rsplit('_', 1)[1]}"
    wrong = [revoked.token, stranger.token, wrong_secret, f"tk__{mine.token[-64:]}", mine.token + "_", "\x00", "tk_é_é"]
    messages = set()
    for token in wrong:
        with pytest.raises(Unauthorized) as refused:
            books.keys.authenticate(token)
        messages.add(str(refused.value))
    assert len(messages) == 1
    assert books.keys.authenticate(mine.token).name == "mine"


def test_create_refuses_a_name_in_use_and_changes_nothing(books: Books) -> None:
    first = books.keys.create("mine", 5)
    with pytest.raises(NameTaken, match="'mine' exists"):
        books.keys.create("mine", 9)
    assert [(quota.key_id, quota.limit) for quota, _ in books.keys.all()] == [(first.id, 5)]


def test_all_lists_the_oldest_first_and_who_is_revoked(books: Books) -> None:
    for name, now in (("second", 20.0), ("third", 30.0), ("first", 10.0)):
        books.clock.now = now
        books.keys.create(name, 1)
    third = next(quota.key_id for quota, _ in books.keys.all() if quota.name == "third")
    assert books.keys.revoke(third)
    assert [(quota.name, revoked) for quota, revoked in books.keys.all()] == [
        ("first", False),
        ("second", False),
        ("third", True),
    ]


def test_revoking_twice_keeps_the_first_time(books: Books) -> None:
    key = books.keys.create("mine", 1)
    for books.clock.now in (10.0, 20.0):
        assert books.keys.revoke(key.id)
    assert rows(books.path, "SELECT revoked_at FROM api_keys") == [(10.0,)]


def test_revoking_an_unknown_key_says_so(books: Books) -> None:
    key = books.keys.create("mine", 1)
    assert not books.keys.revoke("nobody")
    assert books.keys.authenticate(key.token).key_id == key.id


def test_unreadable_ledger_admits_nobody(books: Books) -> None:
    key = books.keys.create("mine", 1)
    with table_gone(books.path, "api_keys"), pytest.raises(LedgerUnavailable):
        books.keys.authenticate(key.token)
    assert books.keys.authenticate(key.token).key_id == key.id
