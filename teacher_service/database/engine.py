"""The database of the ledger: a SQLite file, or a PostgreSQL database that several services share."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from sqlalchemy import Connection, Engine, inspect, update
from sqlalchemy.exc import SQLAlchemyError

from shared.durable import process_lock
from shared.durable.database_url import shown_url, without_secrets
from shared.durable.engine import EngineOptions, is_sqlite, open_engine, reading
from shared.durable.process_lock import ProcessLock
from teacher_service.database.schema import api_keys, chain_head
from teacher_service.database.schema_version import LedgerTooNew, migrate
from teacher_service.database.sqlite_file_guard import keep_to_its_file

LOCK_FOLDER_SUFFIX: Final = ".instances"
"""Names the folder, beside a SQLite ledger, of the lock files of the services that use it."""

_OPTIONS = EngineOptions(busy_seconds=5, writer_lock=(0x7475, 1), commits_may_be_lost=True, checkpoint_pages=4000)

Database: TypeAlias = Engine
"""An open ledger."""


class LedgerUnusable(Exception):
    """The ledger cannot be opened, read or written; the message names it, the reason and what to do next."""


def open_database(ledger: str | Path) -> Engine:
    """An engine on the ledger (a SQLAlchemy URL, or a SQLite file), its tables created or brought up to date.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be opened or written.
        LedgerTooNew: a later version of the service has changed its tables.
        OSError: the folder of a SQLite file cannot be created.
    """
    engine = open_engine(ledger, _OPTIONS)
    if is_sqlite(engine):
        Path(str(engine.url.database)).parent.mkdir(parents=True, exist_ok=True)
    try:
        with engine.begin() as connection:
            migrate(connection)
        if is_sqlite(engine):
            keep_to_its_file(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def ledger_exists(ledger: str | Path) -> bool:
    """Whether there is a ledger at this place: a file that is not empty, or a database with the ledger's tables.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the server cannot be reached.
        OSError: the folder of a file cannot be read.
    """
    engine = open_engine(ledger, _OPTIONS)
    try:
        if is_sqlite(engine):
            return _size_of(Path(str(engine.url.database))) > 0
        return inspect(engine).has_table(api_keys.name)
    finally:
        engine.dispose()


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def explained(ledger: str | Path) -> Iterator[None]:
    """Translate every error of the database or of the disk into `LedgerUnusable`, but for a closed pipe."""
    try:
        yield
    except LedgerTooNew as error:
        raise LedgerUnusable(f"{_shown(ledger)}: {error}") from error
    except BrokenPipeError:  # the reader of the results has closed them; the ledger is sound
        raise
    except (SQLAlchemyError, OSError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        on_server = str(ledger).startswith("postgresql:")
        if on_server:
            reason = without_secrets(reason, str(ledger))
        remedy = "the server runs and TEACHER_DATABASE_URL is right" if on_server else "the folder can be written"
        raise LedgerUnusable(
            f"{_shown(ledger)}: the ledger cannot be opened ({reason}); check that {remedy}"
        ) from error


def _shown(ledger: str | Path) -> str:
    return shown_url(ledger) if isinstance(ledger, str) else str(ledger)


def open_process_lock(engine: Engine) -> ProcessLock:
    """The lock of this process among the services on the same ledger; open it before the engine is used."""
    return process_lock.open_process_lock(engine, LOCK_FOLDER_SUFFIX)


def snapshot(engine: Engine) -> Connection:
    """A read-only connection that sees one snapshot of the ledger, taken at its first statement."""
    connection = reading(engine)
    if not is_sqlite(engine):  # where a transaction that reads sees a snapshot in any case
        connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return connection


def write_probe(connection: Connection) -> None:
    """Write a meaningless value, so that the commit fails where the ledger cannot be written."""
    if connection.dialect.name == "sqlite":  # which does not write a row whose values stay the same
        connection.exec_driver_sql(f"PRAGMA user_version = {secrets.randbits(31)}")
    else:
        connection.execute(update(chain_head).values(sequence=chain_head.c.sequence))


def follow_indexes(connection: Connection) -> None:
    """Make this transaction read rows in the order of an index, and stop when it has enough.

    PostgreSQL plans by statistics that may be old: it would gather and sort many rows to return a few.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            "SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true), "
            "set_config('enable_seqscan', 'off', true)"
        )
