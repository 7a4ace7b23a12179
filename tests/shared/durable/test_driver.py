"""Transactions that begin on the driver's cursor."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from shared.durable.engine import EngineOptions, open_engine


def test_begin_that_fails_drops_its_connection_and_the_next_transaction_writes(tmp_path: Path) -> None:
    file = tmp_path / "file.sqlite"
    engine = open_engine(file, EngineOptions(busy_seconds=0, writer_lock=(1, 1), commits_may_be_lost=True))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE numbers (number INTEGER)"))
    with closing(sqlite3.connect(file, isolation_level=None)) as other, engine.connect() as connection:
        first = connection.connection.dbapi_connection
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="locked"):
            connection.begin()
        assert connection.invalidated
        other.execute("ROLLBACK")
        with connection.begin():
            assert connection.connection.dbapi_connection is not first
            connection.execute(text("INSERT INTO numbers VALUES (1)"))
        assert other.execute("SELECT number FROM numbers").fetchall() == [(1,)]
    engine.dispose()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_error_raised_in_a_transaction_rolls_it_back_and_frees_the_lock(
    tmp_path: Path, error: type[BaseException]
) -> None:
    file = tmp_path / "file.sqlite"
    engine = open_engine(file, EngineOptions(busy_seconds=0, writer_lock=(1, 1)))

    def fail() -> None:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE numbers (number INTEGER)"))
            raise error

    with pytest.raises(error):
        fail()
    with closing(sqlite3.connect(file, isolation_level=None, timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert other.execute("SELECT * FROM sqlite_master").fetchall() == []
    engine.dispose()
