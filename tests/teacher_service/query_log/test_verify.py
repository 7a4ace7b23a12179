"""`verify` finds whatever a stranger's SQL did to a ledger, and nothing in one that was left alone."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Float, Integer, LargeBinary, create_engine

from shared.oip import Body
from teacher_service.database.engine import open_database
from teacher_service.database.schema import metadata
from teacher_service.ledger.hash_chain import link
from teacher_service.ledger.ledger import Reservation
from teacher_service.policy.key_terms import TERMS
from teacher_service.query_log.export import FACTS
from teacher_service.query_log.verify import verify
from teacher_service.query_log.verify_report import MAX_PROBLEMS, Head, Report
from tests.endurance import rounds
from tests.postgresql import PostgresServer
from tests.teacher_service.ledger_file import WAIT_SECONDS, open_books, query, rows
from tests.teacher_service.told_ledger import EVENTS, STATES, meddle, tell

NOW = 1_087_000.0
"""After the end of the expired answer, and before that of the others."""

NOT_COVERED = {
    "api_keys": {"name", "secret_sha256", "created_at", "revoked_at", "revision"}
    | TERMS.keys()
    | {"requests_debt", "requests_debt_at_ms", "samples_debt", "samples_debt_at_ms"},
    "grants": {"id", "reason", "created_at", "reference"},
    "answers": {"kept_until"},
}
"""Columns whose changes `verify` does not find. A column that is not listed must be covered."""

ROWS = {
    "queries": [f"id = {query_id}" for query_id in STATES.values()],
    "query_events": ["sequence = 1", "sequence = 5", f"sequence = {EVENTS}"],
    "chain_head": ["id = 1"],
    "api_keys": ["name = 'first'"],
    "grants": ["reason = 'more'"],
    "answers": ["query_id = 1", "query_id = 5"],
    "daily_usage": ["samples = 7", "samples = 6"],
}
"""Rows to meddle with, by table."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def copies(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Path | str]]:
    """Copies of a ledger to which everything has happened."""
    folder = tmp_path_factory.mktemp("told")
    with ExitStack() as stack:
        if request.param == "sqlite":
            tell(folder / "told.sqlite")
            yield lambda: Path(shutil.copy(folder / "told.sqlite", folder / "copy.sqlite"))
            return
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = stack.enter_context(server.emptied_database())
        tell(url)
        names = [table.name for table in metadata.sorted_tables]
        meddle(url, "CREATE SCHEMA kept")
        for name in names:
            meddle(url, f"CREATE TABLE kept.{name} AS TABLE {name}")

        def copy() -> str:
            meddle(url, f"TRUNCATE {', '.join(names)}")
            for name in names:
                meddle(url, f"INSERT INTO {name} OVERRIDING SYSTEM VALUE TABLE kept.{name}")
            return url

        yield copy


@pytest.fixture
def told(copies: Callable[[], Path | str]) -> Path | str:
    """A fresh copy of it."""
    return copies()


def _verified(place: Path | str, **options: Any) -> Report:
    engine = open_database(place)
    try:
        return verify(engine, now=NOW, **options)
    finally:
        engine.dispose()


def _assert_found(place: Path | str) -> None:
    report = _verified(place)
    assert report.problem_count >= len(report.problems) >= 1


def test_ledger_that_was_left_alone_is_whole(told: Path | str) -> None:
    report = _verified(told)
    assert (report.problems, report.problem_count, report.entries) == ([], 0, EVENTS)
    [(sequence, digest)] = rows(told, "SELECT sequence, sha256 FROM chain_head")
    assert report.head == Head(sequence, digest) == Head.parse(str(report.head))


def test_empty_ledger_is_whole(ledger_place: Path | str) -> None:
    report = _verified(ledger_place)
    assert (report.problems, report.head) == ([], Head())


def test_ledger_of_the_first_release_is_whole(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        connection.executescript((Path(__file__).parents[1] / "database" / "ledger_0001.sql").read_text())
    report = _verified(tmp_path / "ledger.sqlite")
    assert (report.problems, report.entries) == ([], 5)


def _another(table: str, column: str, old: Any) -> Any:
    """Another value of this column's type, that the table's constraints allow."""
    kind = metadata.tables[table].columns[column].type
    if column == "status":
        return "settled" if old == "released" else "released"
    if column == "event":
        return "settled" if old == "released" else "released"
    if column == "query_id":
        return 99
    if isinstance(kind, LargeBinary):
        return (old or b"") + b"\0"
    if isinstance(kind, Integer | BigInteger | Float):
        return (old or 0) + 1 + 100 * (column in {"id", "sequence"})
    return "x" + (old or "")[1:]


COLUMNS = [
    (table.name, column.name, where)
    for table in metadata.sorted_tables
    for column in table.columns
    if column.name not in NOT_COVERED.get(table.name, set())
    for where in ROWS[table.name]
]


@pytest.mark.parametrize(("table", "column", "where"), COLUMNS)
def test_altered_value_is_found(told: Path | str, table: str, column: str, where: str) -> None:
    """In any column of any table that matters, whatever has happened to the row."""
    [(old,)] = rows(told, f"SELECT {column} FROM {table} WHERE {where}")
    meddle(told, f"UPDATE {table} SET {column} = ? WHERE {where}", _another(table, column, old))
    _assert_found(told)


@pytest.mark.parametrize(("table", "where"), [(table, where) for table, places in ROWS.items() for where in places])
def test_deleted_row_is_found(told: Path | str, table: str, where: str) -> None:
    meddle(told, f"DELETE FROM {table} WHERE {where}")
    _assert_found(told)


_OTHERS = ", ".join(name for name in FACTS if name not in ("id", "idempotency_key"))


@pytest.mark.parametrize(
    "sql",
    [
        f"INSERT INTO queries (id, {_OTHERS}) SELECT 99, {_OTHERS} FROM queries WHERE id = 2",
        f"INSERT INTO query_events"
        f" SELECT {EVENTS + 1}, query_id, event, at, sha256 FROM query_events WHERE sequence = 2",
        "INSERT INTO query_events SELECT 0, query_id, event, at, sha256 FROM query_events WHERE sequence = 2",
        "INSERT INTO chain_head SELECT 2, sequence, sha256 FROM chain_head",
        "INSERT INTO answers (key_id, idempotency_key, payload_sha256, query_id) "
        "SELECT key_id, 'x', payload_sha256, 6 FROM queries WHERE id = 6",
        "INSERT INTO grants (key_id, samples, reason, created_at) SELECT key_id, 1, '', 0 FROM queries WHERE id = 1",
        "INSERT INTO grants (key_id, samples, reason, created_at) VALUES ('nobody', 1, '', 0)",
        "INSERT INTO daily_usage SELECT key_id, 1, 1, 1 FROM queries WHERE id = 1",
        "INSERT INTO daily_usage SELECT key_id, 1, 0, 0 FROM queries WHERE id = 1",
    ],
)
def test_inserted_row_is_found(told: Path | str, sql: str) -> None:
    meddle(told, sql)
    _assert_found(told)


def test_reordered_entries_are_found(told: Path | str) -> None:
    for old, new in ((3, 99), (5, 3), (99, 5)):
        meddle(told, "UPDATE query_events SET sequence = ? WHERE sequence = ?", new, old)
    _assert_found(told)


@pytest.mark.parametrize("query_id", [1, 5])
def test_answer_that_was_taken_away_too_early_is_found(told: Path | str, query_id: int) -> None:
    """Whether it was promised for ever or until tomorrow."""
    meddle(told, "UPDATE answers SET content = NULL WHERE query_id = ?", query_id)
    _assert_found(told)


def test_log_that_was_rewritten_with_all_its_hashes_is_found_by_a_head_noted_before(told: Path | str) -> None:
    """And by nothing else: who rewrites everything leaves no trace in the ledger itself."""
    noted = _verified(told).head
    earlier = Head(4, rows(told, "SELECT sha256 FROM query_events WHERE sequence = 4")[0][0])
    _rewrite(told)
    after = _verified(told)
    assert after.problems == []
    for head in (noted, earlier):
        assert _verified(told, expect=head).problem_count == 1
    assert _verified(told, expect=after.head).problem_count == 0


def _rewrite(place: Path | str) -> None:
    meddle(place, "UPDATE queries SET payload_sha256 = 'forged' WHERE id = 2")
    columns = [column.name for column in metadata.tables["queries"].columns]
    digest = bytes(32)
    for sequence, query_id, event, at in rows(
        place, "SELECT sequence, query_id, event, at FROM query_events ORDER BY sequence"
    ):
        [values] = rows(place, f"SELECT {', '.join(columns)} FROM queries WHERE id = ?", query_id)
        digest = link(digest, sequence, event, at, query_id, dict(zip(columns, values, strict=True)))
        meddle(place, "UPDATE query_events SET sha256 = ? WHERE sequence = ?", digest, sequence)
    meddle(place, "UPDATE chain_head SET sha256 = ?", digest)


def test_log_cut_short_with_all_its_traces_is_found_by_a_head_noted_before(told: Path | str) -> None:
    """The last query never was, says the ledger in all its tables."""
    noted = _verified(told).head
    meddle(told, "DELETE FROM answers WHERE query_id = 7")
    meddle(told, "DELETE FROM query_events WHERE query_id = 7")
    meddle(told, "UPDATE api_keys SET reserved = 0, in_flight = 0 WHERE reserved = 8")
    meddle(told, "DELETE FROM queries WHERE id = 7")
    [(sequence, digest)] = rows(told, "SELECT sequence, sha256 FROM query_events ORDER BY sequence DESC LIMIT 1")
    meddle(told, "UPDATE chain_head SET sequence = ?, sha256 = ?", sequence, digest)
    assert _verified(told).problem_count == 0
    assert _verified(told, expect=noted).problems == [
        f"the log ends at {Head(sequence, digest)}; expected it to go through {noted}"
    ]


def test_first_problems_are_told_and_the_others_counted(ledger_place: Path | str) -> None:
    with open_books(ledger_place) as books:
        key = books.key(100)
        for _ in range(30):
            books.ledger.reserve(query(key)).result(WAIT_SECONDS)
    meddle(ledger_place, "UPDATE queries SET request_id = 'x'")
    report = _verified(ledger_place)
    assert (len(report.problems), report.problem_count) == (MAX_PROBLEMS, 30)


def test_service_goes_on_meanwhile_and_what_it_writes_is_not_seen(ledger_place: Path | str) -> None:
    """One snapshot: half of a query would look like a forgery."""
    with open_books(ledger_place) as books:
        key = books.key(100)

        def ask(_done: int = 0, _total: int = 0) -> None:
            held = books.ledger.reserve(query(key)).result(WAIT_SECONDS)
            assert isinstance(held, Reservation)
            books.ledger.settle(held, Body(b"{}", None)).result(WAIT_SECONDS)

        ask()
        report = verify(books.engine, now=NOW, progress=ask)
        assert (report.problems, report.entries) == ([], 2)
        assert verify(books.engine, now=NOW).entries == 4


@pytest.mark.parametrize("said", ["", "5", "5:", "x:" + "0" * 64, "5:" + "g" * 64, "5:" + "0" * 63, "-1:" + "0" * 64])
def test_head_that_is_none_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match=r"expected SEQUENCE:HASH|non-hexadecimal"):
        Head.parse(said)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite ledger to which everything has happened."""
    path = tmp_path_factory.mktemp("original") / "told.sqlite"
    tell(path)
    return path


@pytest.mark.parametrize("samples", [2**63 - 1, 1.5, float("inf"), "many", b"\xff"])
def test_grant_of_more_than_can_be_summed_is_found(original: Path, tmp_path: Path, samples: object) -> None:
    path = Path(shutil.copy(original, tmp_path / "copy.sqlite"))
    meddle(path, "UPDATE grants SET samples = ? WHERE reason = 'more'", samples)
    engine = create_engine(f"sqlite:///{path}")
    report = verify(engine, now=NOW)
    engine.dispose()
    assert any("the sum of its grants is" in problem for problem in report.problems), report.problems


@settings(max_examples=rounds(30, 150))
@given(data=st.data())
def test_any_value_in_any_place_is_found(original: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Of any type: a file's columns take all of them."""
    for left in tmp_path.iterdir():  # a write-ahead log that belongs to another copy
        left.unlink()
    path = Path(shutil.copy(original, tmp_path / "copy.sqlite"))
    table, column, where = data.draw(st.sampled_from(COLUMNS))
    [old] = rows(path, f"SELECT {column} FROM {table} WHERE {where}")
    nullable = metadata.tables[table].columns[column].nullable
    values: st.SearchStrategy[Any] = st.one_of(
        st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(), st.binary()
    )
    try:
        meddle(
            path,
            f"UPDATE {table} SET {column} = ? WHERE {where}",
            data.draw(values | st.none() if nullable else values),
        )
    except sqlite3.IntegrityError:
        return
    [new] = rows(path, f"SELECT {column} FROM {table} WHERE {where}") or [("gone",)]
    if new != old:
        engine = create_engine(f"sqlite:///{path}")
        report = verify(engine, now=NOW)
        engine.dispose()
        assert report.problem_count
