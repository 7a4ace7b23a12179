"""Statements that go straight to the driver of the database: for a short one, SQLAlchemy takes longer than SQLite."""

from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import OperationalError

_Result = TypeVar("_Result")


def on_cursor(connection: Connection, sql: str, work: Callable[[DBAPICursor], _Result]) -> _Result:
    """Call `work` with a cursor of the driver, and return what it returns; `sql` is what an error names.

    Raises:
        OperationalError: the database failed. The connection is not used again.
    """
    try:
        with closing(connection.connection.cursor()) as cursor:  # closed before its connection
            return work(cursor)
    except connection.dialect.loaded_dbapi.Error as error:
        connection.invalidate(error)  # as SQLAlchemy does when a connection is lost, which this one may be
        raise OperationalError(sql, None, error) from error
