"""Statements that go straight to the driver: the rows of SQLAlchemy's own way, whatever the database."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, bindparam, func, insert, select, update
from sqlalchemy.exc import OperationalError

from teacher_service.database.schema import api_keys, grants
from teacher_service.ledger.compiled_sql import Change, Lookup
from tests.teacher_service.ledger_file import Books, open_books

_COLUMNS = (api_keys.c.id, api_keys.c.name, api_keys.c.secret_sha256, api_keys.c.quota, api_keys.c.created_at)
_ADD = Change(insert(api_keys), _COLUMNS)


def _add(connection: Connection, count: int) -> None:
    rows = [
        {"id": f"k{n}", "name": f"n{n % 2}{n}", "secret_sha256": "s", "quota": 2**62 + n, "created_at": n / 3}
        for n in range(count)
    ]
    _ADD.run(connection, rows)


@pytest.mark.parametrize("count", [1, 2, 3, 127, 128, 129, 400])
def test_rows_are_found_by_any_number_of_values(ledger_place: Path | str, count: int) -> None:
    """Each once, whatever its value is padded to; with the values that SQLAlchemy finds."""
    lookup = Lookup(select(api_keys), api_keys.c.id)
    with open_books(ledger_place) as books, books.engine.begin() as connection:
        _add(connection, count)
        found = lookup.rows(connection, [(f"k{n}",) for n in range(count)] + [("nobody",)])
        expected = connection.execute(select(api_keys).order_by(api_keys.c.created_at)).all()
        assert sorted((tuple(row) for row in found), key=lambda row: row[6]) == [tuple(row) for row in expected]
        assert {row.id: row.quota for row in found} == {row.id: row.quota for row in expected}


def test_rows_are_found_by_several_columns_together(ledger_place: Path | str) -> None:
    lookup = Lookup(select(api_keys.c.quota), api_keys.c.id, api_keys.c.name)
    with open_books(ledger_place) as books, books.engine.begin() as connection:
        _add(connection, 3)
        wanted = [("k0", "n00"), ("k1", "n00"), ("k2", "n02")]
        assert sorted(row.quota for row in lookup.rows(connection, wanted)) == [2**62, 2**62 + 2]
        assert lookup.rows(connection, []) == []


def test_statement_without_a_column_is_run_as_it_is(ledger_place: Path | str) -> None:
    with open_books(ledger_place) as books, books.engine.begin() as connection:
        _add(connection, 3)
        [row] = Lookup(select(func.max(api_keys.c.quota).label("largest"))).rows(connection)
        assert row.largest == 2**62 + 2


def test_change_is_made_for_every_row_with_what_the_statement_says_itself(ledger_place: Path | str) -> None:
    change = Change(
        update(api_keys).where(api_keys.c.id == bindparam("key")).values(used=bindparam("more"), holder="somebody")
    )
    with open_books(ledger_place) as books, books.engine.begin() as connection:
        _add(connection, 3)
        change.run(connection, [{"key": "k0", "more": 5}, {"key": "k2", "more": 7}])
        rows = connection.execute(select(api_keys.c.used, api_keys.c.holder).order_by(api_keys.c.id)).all()
        assert [tuple(row) for row in rows] == [(5, "somebody"), (0, ""), (7, "somebody")]


def test_what_the_database_refuses_is_told_and_undone(books: Books) -> None:
    """In the words of SQLAlchemy's exceptions; a connection that met an error is not used again."""
    grant = Change(insert(grants), (grants.c.key_id, grants.c.samples, grants.c.reason, grants.c.created_at))
    used = []

    def refused() -> None:
        with books.engine.begin() as connection:
            _add(connection, 1)
            used.append(connection.connection.dbapi_connection)
            grant.run(connection, [{"key_id": "nobody", "samples": 1, "reason": "r", "created_at": 0.0}])

    with pytest.raises(OperationalError, match="FOREIGN KEY"):
        refused()
    with books.engine.begin() as connection:
        assert connection.connection.dbapi_connection not in used
        assert connection.execute(select(api_keys)).all() == []
