"""A ledger on a real database: opened as a process opens it, broken on demand, and read as a stranger reads it."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Final

import psycopg
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import PoolProxiedConnection

from shared.durable.process_lock import ProcessLock
from teacher_service.database.engine import open_database, open_process_lock
from teacher_service.database.query_facts import Query
from teacher_service.keys.store import KeyStore
from teacher_service.ledger.group_commit import GroupCommit
from teacher_service.ledger.ledger import Ledger
from tests.endurance import HANG_SECONDS

WAIT_SECONDS: Final = HANG_SECONDS
"""How long a test waits for what must happen; reached only when it fails."""


class FakeClock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        """The time, as `time.time` would say it."""
        return self.now


@dataclass
class Books:
    """A ledger, opened as one service process opens it."""

    path: Path | str
    """A SQLite file, or the URL of a PostgreSQL database."""
    engine: Engine
    commits: GroupCommit
    instance: ProcessLock
    clock: FakeClock

    @property
    def ledger(self) -> Ledger:
        """The ledger of this process."""
        return Ledger(self.engine, self.commits, self.instance, self.clock)

    @property
    def keys(self) -> KeyStore:
        """The keys in this file."""
        return KeyStore(self.engine, self.commits, self.clock)

    def key(self, quota: int) -> str:
        """The id of a new key."""
        return self.keys.create(f"key {os.urandom(4).hex()}", quota).id

    def counts(self, key_id: str) -> tuple[int, int]:
        """Samples used and reserved."""
        return counts(self.path, key_id)


@contextmanager
def open_books(path: Path | str, clock: FakeClock | None = None) -> Iterator[Books]:
    """Open a ledger, and close it in order."""
    engine = open_database(path)
    commits = GroupCommit(engine)
    with open_process_lock(engine) as instance:
        try:
            yield Books(path, engine, commits, instance, clock or FakeClock())
        finally:
            commits.close()
            engine.dispose()


def rows(path: Path | str, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    """What a stranger's connection reads from (or does to) a ledger."""
    if isinstance(path, str):
        with psycopg.connect(path) as session:
            cursor = session.execute(sql.replace("?", "%s"), parameters)
            return cursor.fetchall() if cursor.description else []
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(sql, parameters).fetchall()


def counts(path: Path | str, key_id: str) -> tuple[int, int]:
    """Samples used and reserved, as the file has them; checked against the log."""
    [(used, reserved)] = rows(path, "SELECT used, reserved FROM api_keys WHERE id = ?", key_id)
    logged = dict(
        rows(path, "SELECT status, SUM(samples) FROM queries WHERE key_id = ? GROUP BY status", key_id),
    )
    assert (used, reserved) == (logged.get("settled", 0), logged.get("held", 0))
    return used, reserved


def query(
    key_id: str, samples: int = 1, *, idempotency_key: str | None = None, payload: str = "p", request_id: str = "r"
) -> Query:
    """A query as a route would make it."""
    return Query(
        request_id=request_id,
        key_id=key_id,
        model_name="teacher",
        model_version="0123456789abcdef",
        samples=samples,
        payload_sha256=payload,
        idempotency_key=idempotency_key,
    )


@contextmanager
def writer_busy(commits: GroupCommit) -> Iterator[None]:
    """Keeps the writer busy: what is submitted meanwhile waits, and gathers into one group."""
    started, free = Event(), Event()

    def operation(_: object) -> None:
        started.set()
        assert free.wait(WAIT_SECONDS)

    occupied = commits.submit(operation)
    assert started.wait(WAIT_SECONDS)
    try:
        yield
    finally:
        free.set()
        occupied.result(WAIT_SECONDS)


class Commits:
    """Counts the commits on an engine from now on, and breaks some of them.

    The next `failing` fail as on a full disk. After these, the next `unacknowledged` reach the database, and then the
    connection breaks.
    """

    def __init__(self, engine: Engine) -> None:
        self.count = 0
        self.failing = 0
        self.unacknowledged = 0
        self.on_success: Callable[[], None] = lambda: None
        event.listen(engine, "commit", self._on_commit)
        self._do_commit = engine.dialect.do_commit
        engine.dialect.do_commit = self._commit_and_break  # type: ignore[method-assign]  # no event follows the commit

    def _commit_and_break(self, dbapi_connection: PoolProxiedConnection) -> None:
        self._do_commit(dbapi_connection)
        if self.unacknowledged:
            self.unacknowledged -= 1
            raise OperationalError("COMMIT", None, Exception("server closed the connection unexpectedly"))

    def _on_commit(self, _connection: object) -> None:
        if self.failing:
            self.failing -= 1
            raise OperationalError("COMMIT", None, Exception("database or disk is full"))
        self.count += 1
        self.on_success()


@contextmanager
def writer_locked_out(path: Path) -> Iterator[None]:
    """Another process writes to the SQLite file, and does not end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def table_gone(path: Path | str, table: str) -> Iterator[None]:
    """The ledger is broken: one of its tables cannot be found."""
    rows(path, f"ALTER TABLE {table} RENAME TO {table}_gone")
    try:
        yield
    finally:
        rows(path, f"ALTER TABLE {table}_gone RENAME TO {table}")
