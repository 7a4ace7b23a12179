"""The ledger's file: durable, checked by its own constraints, and readable while it is written."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from shared.durable.engine import let_commits_be_lost, reading
from shared.durable.process_lock import lock_folder
from teacher_service.database.engine import LOCK_FOLDER_SUFFIX, open_database
from teacher_service.database.schema import api_keys
from tests.teacher_service.ledger_file import Books, rows

_KEY = "INSERT INTO api_keys (id, name, secret_sha256, quota, used, reserved, created_at) VALUES "
_QUERY = (
    "INSERT INTO queries (request_id, key_id, model_name, model_version, samples, payload_sha256, status, "
    "instance_id, created_at) VALUES "
)


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("foreign_keys", 1), ("busy_timeout", 5000)],
)
def test_every_connection_is_prepared(books: Books, pragma: str, value: object) -> None:
    with reading(books.engine) as first, reading(books.engine) as second:
        for connection in (first, second):
            assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value


def test_commits_are_on_disk_unless_a_power_cut_may_undo_them(books: Books) -> None:
    """`synchronous` 2 is FULL: a charge survives a power cut. 1 is NORMAL: it survives everything else."""
    with books.engine.connect() as connection:
        for may_be_lost, synchronous in ((False, 2), (True, 1), (False, 2)):
            let_commits_be_lost(connection, may_be_lost=may_be_lost)
            with connection.begin():
                assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == synchronous
    with books.engine.begin() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_opening_creates_the_folder_and_keeps_what_is_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a/b/ledger.sqlite"
    for expected in ([], [("k",)]):
        engine = open_database(url)
        with engine.begin() as connection:
            assert [tuple(row) for row in connection.execute(select(api_keys.c.id))] == expected
            if not expected:
                connection.exec_driver_sql(_KEY + "('k', 'n', 's', 1, 0, 0, 0)")
        engine.dispose()


@pytest.mark.parametrize("name", ["a?mode=ro", "100%20", "#1", "a b", "{x}"])
def test_path_is_taken_literally_whatever_is_in_it(tmp_path: Path, name: str) -> None:
    """A folder's name is not part of a URL: the ledger and its instances are where the path says."""
    path = tmp_path / name / "ledger.sqlite"
    engine = open_database(path)
    engine.dispose()
    assert path.is_file()
    assert lock_folder(engine, LOCK_FOLDER_SUFFIX) == tmp_path / name / "ledger.sqlite.instances"


def test_opening_what_is_no_database_fails(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("this is not a database, whatever its name says\n" * 100)
    with pytest.raises(DBAPIError):
        open_database(f"sqlite:///{tmp_path}/text.sqlite")
    with pytest.raises(OperationalError):
        open_database(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize(
    "sql",
    [
        _KEY + "('x', 'x', 's', 5, 6, 0, 0)",
        _KEY + "('x', 'x', 's', 5, 3, 3, 0)",
        _KEY + "('x', 'x', 's', 5, -1, 0, 0)",
        _KEY + "('x', 'x', 's', 5, 0, -1, 0)",
        _KEY + "('x', 'taken', 's', 5, 0, 0, 0)",
        "UPDATE api_keys SET used = used + 5 WHERE id = 'k'",
        "UPDATE api_keys SET reserved = reserved - 2 WHERE id = 'k'",
        _QUERY + "('r', 'nobody', 'm', 'v', 1, 'p', 'held', 'i', 0)",
        _QUERY + "('r', 'k', 'm', 'v', 0, 'p', 'held', 'i', 0)",
        _QUERY + "('r', 'k', 'm', 'v', 1, 'p', 'lost', 'i', 0)",
        "INSERT INTO answers (key_id, idempotency_key, payload_sha256, query_id) VALUES ('k', 'i', 'p', 999)",
    ],
)
def test_database_itself_refuses_rows_that_break_the_count(books: Books, sql: str) -> None:
    """Whatever a future version gets wrong, `used + reserved <= quota` holds."""
    with books.engine.begin() as connection:
        connection.exec_driver_sql(_KEY + "('k', 'taken', 's', 5, 0, 1, 0)")
    with pytest.raises(IntegrityError), books.engine.begin() as connection:
        connection.exec_driver_sql(sql)
    assert rows(books.path, "SELECT id, used, reserved FROM api_keys") == [("k", 0, 1)]


def test_transaction_takes_the_write_lock_at_once(books: Books) -> None:
    """Before its first write: else two that read first could both fail half-way."""
    with (
        closing(sqlite3.connect(books.path, timeout=0)) as stranger,
        books.engine.begin(),
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        stranger.execute("BEGIN IMMEDIATE")


def _names(engine: Engine) -> list[str]:
    with reading(engine) as connection:
        return list(connection.scalars(select(api_keys.c.name)))


def test_reader_does_not_wait_for_a_writer(books: Books) -> None:
    """It sees what was committed, never what may still be rolled back."""
    with closing(sqlite3.connect(books.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute(_KEY + "('k', 'n', 's', 1, 0, 0, 0)")
        assert _names(books.engine) == []
        writer.execute("COMMIT")
    assert _names(books.engine) == ["n"]


def test_reading_leaves_no_reading_connection_in_the_pool(books: Books) -> None:
    """A pooled connection that once read must take the write lock again when it next writes."""
    _names(books.engine)
    with closing(sqlite3.connect(books.path, timeout=0)) as stranger, books.engine.begin() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            stranger.execute("BEGIN IMMEDIATE")


def test_instances_live_beside_the_file(books: Books) -> None:
    """Processes on one file must meet in one folder."""
    assert lock_folder(books.engine, LOCK_FOLDER_SUFFIX) == Path(f"{books.path}.instances")
