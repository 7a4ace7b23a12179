"""A key straight into a file: one key, whatever dies on the way."""

from pathlib import Path

import pytest

from teacher_service.errors.service_errors import NameTaken
from teacher_service.keys.api_key import NewKey
from teacher_service.keys.key_file import KeyFileError, keep_key
from teacher_service.keys.store import KeyStore
from teacher_service.policy.key_terms import DEFAULT_TERMS, KeyTerms
from tests.teacher_service.ledger_file import Books


class _Died(BaseException):
    """The end of the process."""


class _DyingStore(KeyStore):
    """Dies before or after the ledger has the key."""

    def __init__(self, books: Books, *, after: bool) -> None:
        super().__init__(books.engine, books.commits, books.clock)
        self._after = after

    def create(self, name: str, quota: int, key: NewKey | None = None, terms: KeyTerms = DEFAULT_TERMS) -> NewKey:
        """Die."""
        if self._after:
            super().create(name, quota, key, terms)
        raise _Died


def test_key_is_kept_once_and_works(books: Books, tmp_path: Path) -> None:
    path = tmp_path / "keys" / "worker"
    key_id = keep_key(books.keys, "worker", 5, path)
    assert books.keys.authenticate(path.read_text().strip()).key_id == key_id
    assert path.stat().st_mode & 0o777 == 0o600
    assert keep_key(books.keys, "worker", 5, path) is None
    assert [file.name for file in path.parent.iterdir()] == ["worker"]


@pytest.mark.parametrize("after", [False, True])
def test_next_call_finishes_what_a_killed_one_began(books: Books, tmp_path: Path, after: bool) -> None:
    path = tmp_path / "worker"
    with pytest.raises(_Died):
        keep_key(_DyingStore(books, after=after), "worker", 5, path)
    assert not path.exists()
    key_id = keep_key(books.keys, "worker", 5, path)
    assert books.keys.authenticate(path.read_text().strip()).key_id == key_id
    assert len(books.keys.all()) == 1


def test_name_of_another_key_is_refused_and_leaves_no_file(books: Books, tmp_path: Path) -> None:
    books.keys.create("worker", 5)
    with pytest.raises(NameTaken):
        keep_key(books.keys, "worker", 5, tmp_path / "worker-key")
    assert not list(tmp_path.glob("*worker-key*"))


def test_file_that_cannot_be_written_makes_no_key(books: Books, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(KeyFileError, match="no key was created"):
        keep_key(books.keys, "worker", 5, tmp_path / "file" / "key")
    assert books.keys.all() == []
