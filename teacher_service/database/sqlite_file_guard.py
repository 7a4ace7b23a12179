"""A SQLite ledger is the file at its path, and no other.

A process can write to an open file after it was moved, deleted or replaced, and a charge written there is lost. So
every transaction first checks that the path still names the file that its connection has open.
"""

import sqlite3
from collections.abc import Mapping
from os import stat_result
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import Dialect, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

_FILE: Final = "file"


def keep_to_its_file(engine: Engine) -> None:
    """Reject every later transaction on a file that is not at its path, and never create another file there.

    A connection that met an error is not used again, as it might remember that the file could not be written.
    """
    path = Path(str(engine.url.database))

    def note_file(_dialect: Dialect, entry: ConnectionPoolEntry, _arguments: Any, _options: Any) -> None:
        # Before the file is opened: if it is replaced in between, the next transaction detects that.
        try:
            entry.info[_FILE] = _identity(path.stat())
        except OSError as error:
            raise sqlite3.OperationalError(f"{path}: the ledger's file is gone ({error.strerror})") from error

    def is_there(info: Mapping[Any, Any]) -> bool:
        try:
            return bool(info.get(_FILE) == _identity(path.stat()))
        except OSError:
            return False

    def pass_over(_connection: DBAPIConnection, entry: ConnectionPoolEntry, _proxy: Any) -> None:
        if not is_there(entry.info):
            raise DisconnectionError  # the pool opens another

    def look_for_file(connection: Connection) -> None:
        if not is_there(connection.info):
            connection.invalidate()
            problem = sqlite3.OperationalError(f"{path}: the ledger's file was moved, deleted or replaced")
            raise OperationalError("BEGIN", None, problem)

    engine.dispose()  # the connections that made the file know nothing of this
    event.listen(engine, "do_connect", note_file)
    event.listen(engine, "checkout", pass_over)
    event.listen(engine, "begin", look_for_file, insert=True)
    event.listen(engine, "handle_error", _forget_connection)


def _identity(file: stat_result) -> tuple[int, int]:
    return file.st_dev, file.st_ino


def _forget_connection(context: ExceptionContext) -> None:
    if isinstance(context.original_exception, sqlite3.OperationalError):
        context.is_disconnect = True
        if context.execution_context is not None:  # closed under a cursor, a connection keeps its locks for as long
            context.execution_context.cursor.close()
