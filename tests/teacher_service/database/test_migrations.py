"""A ledger of any release opens, keeps what was paid for, and ends with the tables that the code expects."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from threading import Barrier, Thread

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from shared.oip import Body
from teacher_service.database import migrations
from teacher_service.database.engine import open_database
from teacher_service.database.schema import metadata
from teacher_service.database.schema_version import HEAD, LedgerTooNew
from teacher_service.ledger.ledger import Reservation, Settled
from teacher_service.policy.output_policy import OutputPolicy
from tests.teacher_service.ledger_file import WAIT_SECONDS, open_books, query, rows

TOKEN = "tk_1e491977ba8d_d739ba0c71a04379c67f700abf4406e2a0bc60ad51d645d3917272ff9f648b26"
"""Of `ledger_0001.sql`, which the first release wrote: 5 of 100 samples used, and 3 held by a process now dead."""
KEY_ID = "1e491977ba8d"


@pytest.fixture
def first_release(tmp_path: Path) -> Path:
    """A ledger as the first release left it."""
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(Path(__file__).with_name("ledger_0001.sql").read_text())
    return path


def test_tables_are_those_that_the_code_expects(ledger_place: Path | str) -> None:
    engine = open_database(ledger_place)
    with engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_ledger_of_the_first_release_keeps_what_was_paid_for(first_release: Path) -> None:
    with open_books(first_release) as books:
        quota = books.keys.authenticate(TOKEN)
        assert (quota.limit, quota.used, quota.reserved, str(quota.terms.outputs)) == (100, 5, 3, "logits")
        assert [revoked for _, revoked in books.keys.all()] == [False, True]
        assert quota.in_flight == 1
        assert books.ledger.recover() == 3
        repeated = books.ledger.reserve(query(KEY_ID, 5, idempotency_key="once", payload="sha-1")).result(WAIT_SECONDS)
        assert isinstance(repeated, Settled)
        assert repeated.answer == Body(b'{"outputs":[]}\x00\xff', 14)
        fresh = books.ledger.reserve(query(KEY_ID, 1)).result(WAIT_SECONDS)
        assert isinstance(fresh, Reservation)
        assert fresh.query_id == 4
        assert books.counts(KEY_ID) == (5, 1)
    usage = rows(first_release, "SELECT key_id, queries, samples FROM daily_usage")
    assert usage == [(KEY_ID, 1, 5)]
    settled = "SELECT event, COUNT(*) FROM query_events WHERE query_id < 4 GROUP BY event ORDER BY event"
    assert rows(first_release, settled) == [("admitted", 3), ("released", 2), ("settled", 1)]


def test_key_that_could_see_features_still_may(first_release: Path) -> None:
    """A table of their own said so, between two releases."""
    rows(first_release, "CREATE TABLE feature_keys (key_id VARCHAR(32) PRIMARY KEY)")
    rows(first_release, "INSERT INTO feature_keys VALUES (?)", KEY_ID)
    with open_books(first_release) as books:
        assert books.keys.authenticate(TOKEN).terms.outputs == OutputPolicy.parse("logits,features")


def test_ledger_of_the_first_release_ends_like_a_new_one(first_release: Path, tmp_path: Path) -> None:
    """With the same indexes, on which the speed of pages rests; and its grants can be repeated."""
    open_database(first_release).dispose()
    open_database(tmp_path / "new.sqlite").dispose()
    indexes = "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name"
    assert rows(first_release, indexes) == rows(tmp_path / "new.sqlite", indexes)
    with open_books(first_release) as books:
        assert [books.keys.grant(KEY_ID, 5, "more", "word").repeated for _ in range(2)] == [False, True]
        assert books.keys.show(KEY_ID).quota.limit == 105


def test_opening_again_changes_nothing(first_release: Path) -> None:
    open_database(first_release).dispose()
    written = rows(first_release, "SELECT sql FROM sqlite_master ORDER BY name")
    open_database(first_release).dispose()
    assert rows(first_release, "SELECT sql FROM sqlite_master ORDER BY name") == written


def test_processes_that_start_together_migrate_once(ledger_place: Path | str) -> None:
    """Each makes the tables, or finds them made."""
    assert _open_together([ledger_place]) == []


def test_new_file_is_never_found_locked_by_those_that_start_together(tmp_path: Path) -> None:
    """While one changes how the file is journalled, SQLite itself turns the others away at once."""
    assert _open_together([tmp_path / str(turn) for turn in range(25)]) == []


def _open_together(places: Sequence[Path | str]) -> list[BaseException]:
    """What four that open each ledger at one moment meet."""
    start, failures = Barrier(4), list[BaseException]()

    def begin() -> None:
        for place in places:
            start.wait(WAIT_SECONDS)
            try:
                open_database(place).dispose()
            except BaseException as error:
                failures.append(error)

    threads = [Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_version_is_that_of_the_last_migration(ledger_place: Path | str) -> None:
    open_database(ledger_place).dispose()
    assert rows(ledger_place, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    versions = Path(migrations.__path__[0]) / "versions"
    assert max(path.stem.partition("_")[0] for path in versions.glob("0*.py")) == HEAD


def test_ledger_of_a_later_release_is_refused_and_left_alone(ledger_place: Path | str) -> None:
    engine = open_database(ledger_place)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(LedgerTooNew, match=r"got version 9999; start the service that wrote it"):
        open_database(ledger_place)
    assert rows(ledger_place, "SELECT version_num FROM alembic_version") == [("9999",)]
