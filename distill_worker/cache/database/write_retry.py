"""Retries of a write that failed for a transient reason: a long lock, or a restart of the server."""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError

_PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 40.0)
"""Seconds between tries: two minutes in all, beside the time for which each try waits for a lock."""

_TRANSIENT_STATES = ("08", "40", "55P03", "57P", "53300")
"""PostgreSQL's: connection lost, serialization or deadlock, lock timeout, server stopped or starting, too many."""


def with_write_retry(
    writing: Callable[[], AbstractContextManager[Connection]],
    write: Callable[[Connection, bool], None],
    sleep: Callable[[float], None],
) -> None:
    """Write in one transaction, and again in another if it failed for a transient reason.

    Args:
        writing: begins a transaction.
        write: its second argument is whether an earlier try may have been committed.
        sleep: waits for so many seconds between two tries.
    """
    for tries, pause in enumerate((*_PAUSES, None)):
        try:
            with writing() as connection:
                write(connection, tries > 0)
        except DBAPIError as error:
            if pause is None or not _is_transient(error):
                raise
            sleep(pause)
        else:
            return


def is_short_of_space(error: DBAPIError) -> bool:
    """Whether a write to a SQLite file may have failed for lack of disk space; a disk quota has no code of its own."""
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def _is_transient(error: DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.Error):
        # What fails in SQLite itself has a code, of which the last byte is the kind.
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_TRANSIENT_STATES)
    return error.connection_invalidated or isinstance(error, OperationalError)
