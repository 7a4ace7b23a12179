"""Statements that are compiled once and then go straight to the database's driver.

SQLAlchemy takes 40 to 70 microseconds to run a statement for which SQLite takes 2 to 4, and the ledger runs some ten
for every query. SQLAlchemy still writes the SQL for each database; only its execution is bypassed.
"""

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, Select, and_, bindparam, or_
from sqlalchemy.engine.interfaces import DBAPICursor, Dialect
from sqlalchemy.sql import ClauseElement

from shared.durable.driver import on_cursor

_MOST_AT_ONCE: Final = 128
"""Rows that one statement looks up: SQLite rejects an expression of a thousand terms."""


class Change:
    """A statement that writes, executed once for each row of parameters."""

    def __init__(self, statement: ClauseElement, columns: Iterable[Column[Any]] = ()) -> None:
        """Keep a statement; `columns` are the columns that an insert sets."""
        self._statement = statement
        self._columns = [column.key for column in columns] or None
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute the statement for each row of parameters by name.

        Raises:
            OperationalError: the database failed.
        """
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            self._compiled[dialect.name] = _Compiled(self._statement, dialect, self._columns)
        compiled = self._compiled[dialect.name]
        parameters = [compiled.parameters(row) for row in rows]
        on_cursor(connection, compiled.sql, lambda cursor: cursor.executemany(compiled.sql, parameters))


class Lookup:
    """A `SELECT` of all its rows, or of those that have one of several values in the given columns."""

    def __init__(self, statement: Select[Any], *columns: Column[Any]) -> None:
        """Keep a statement, and the columns that are compared."""
        self._statement = statement
        self._columns = columns
        self._compiled: dict[tuple[str, int], _Compiled] = {}
        self._row: Any = namedtuple("_Row", (str(column.key) for column in statement.selected_columns))  # type: ignore[misc]

    def rows(self, connection: Connection, values: Sequence[Sequence[Any]] = ((),)) -> list[Any]:
        """The rows, in any order, with their columns by name; each item of `values` has a value for every column.

        Raises:
            OperationalError: the database failed.
        """
        rows: list[Any] = []
        for start in range(0, len(values), _MOST_AT_ONCE):
            wanted = values[start : start + _MOST_AT_ONCE]
            size = 1 << (len(wanted) - 1).bit_length()  # a power of two: few statements to compile, and to keep
            padded = [*wanted, *[wanted[-1]] * (size - len(wanted))]
            compiled = self._for(connection.dialect, size)
            parameters = {_name(at, row): part for row, value in enumerate(padded) for at, part in enumerate(value)}
            rows += on_cursor(connection, compiled.sql, _fetch(compiled.sql, compiled.parameters(parameters)))
        return [self._row._make(row) for row in rows]

    def _for(self, dialect: Dialect, size: int) -> "_Compiled":
        if (dialect.name, size) not in self._compiled:
            statement = self._statement.where(self._has_one_of(size)) if self._columns else self._statement
            self._compiled[dialect.name, size] = _Compiled(statement, dialect)
        return self._compiled[dialect.name, size]

    def _has_one_of(self, size: int) -> ColumnElement[bool]:
        columns = list(enumerate(self._columns))
        return or_(*(and_(*(column == bindparam(_name(at, row)) for at, column in columns)) for row in range(size)))


class _Compiled:
    """A statement in the SQL dialect of one database."""

    def __init__(self, statement: ClauseElement, dialect: Dialect, columns: Sequence[str] | None = None) -> None:
        compiled: Any = statement.compile(dialect=dialect, column_keys=columns)
        self.sql: str = compiled.string
        self._order: Sequence[str] | None = compiled.positiontup
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}

    def parameters(self, values: Mapping[str, Any]) -> Any:
        """The parameters in the form that the driver takes: by position, or by name."""
        everything = {**self._constants, **values}
        return everything if self._order is None else [everything[name] for name in self._order]


def _name(column: int, row: int) -> str:
    return f"v{column}_{row}"


def _fetch(sql: str, parameters: Any) -> Callable[[DBAPICursor], list[Any]]:
    def fetch(cursor: DBAPICursor) -> list[Any]:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())

    return fetch
