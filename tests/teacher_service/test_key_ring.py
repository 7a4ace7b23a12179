"""The keys of a ledger: recognised, listed, revoked, and never readable from the file."""

from pathlib import Path

import pytest

from teacher_service.api_key import new_key
from teacher_service.errors import LedgerUnavailable, NameTaken, Unauthorized
from tests.teacher_service.ledger_file import Books, rows, table_gone


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
    assert books.keys.is_reachable()
    with table_gone(books.path, "api_keys"):
        assert not books.keys.is_reachable()
        with pytest.raises(LedgerUnavailable):
            books.keys.authenticate(key.token)
    assert books.keys.is_reachable()
    assert books.keys.authenticate(key.token).key_id == key.id
