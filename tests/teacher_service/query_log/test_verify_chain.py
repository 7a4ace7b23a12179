"""A log whose entries were written in several versions: each is held to what its own version covers."""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from teacher_service.database.query_facts import LATEST, VERSIONS, Fact, hashed_facts
from teacher_service.database.schema import queries
from teacher_service.ledger.hash_chain import ADMITTED, link
from teacher_service.query_log.verify_chain import Log, entries_with
from teacher_service.query_log.verify_report import Head, Report
from tests.teacher_service.ledger_file import Books, open_books, query, rows

NEXT = LATEST + 1
PRETENDED: Mapping[int, Sequence[str]] = {**VERSIONS, NEXT: (*VERSIONS[LATEST], "weather")}
"""The version after the latest, which covers one more fact."""


@pytest.fixture
def mixed(ledger_place: Path | str) -> Iterator[Books]:
    """Query 1 was admitted by the version that is, and query 2 by the one that is pretended."""
    with open_books(ledger_place) as books:
        key_id = books.key(100)
        books.ledger.reserve(query(key_id, 3)).result()
        books.ledger.reserve(query(key_id, 4)).result()
        rows(ledger_place, "ALTER TABLE queries ADD COLUMN weather VARCHAR(64)")
        rows(ledger_place, "UPDATE queries SET weather = 'rain' WHERE id = 2")
        _rehash(books, PRETENDED, NEXT)
        yield books


def _rehash(books: Books, versions: Mapping[int, Sequence[str]], version: int) -> None:
    """Give the second entry the hash that this version gives it."""
    [(previous,)] = rows(books.path, "SELECT sha256 FROM query_events WHERE sequence = 1")
    names = (*(column.name for column in queries.c), "weather")
    [values] = rows(books.path, f"SELECT {', '.join(names)} FROM queries WHERE id = 2")
    facts = dict(zip(names, values, strict=True))
    digest = link(previous, 2, ADMITTED, facts["created_at"], 2, facts, version=version, versions=versions)
    rows(books.path, "UPDATE query_events SET sha256 = ? WHERE sequence = 2", digest)


def _report(books: Books, expect: Head | None = None) -> Report:
    report = Report()
    log = Log(report, expect, PRETENDED)
    with books.engine.connect() as connection:
        for row in connection.execute(entries_with([*(column.name for column in queries.c), "weather"])):
            log.check(row)
    log.end()
    return report


def test_entries_of_both_versions_stand_in_one_chain(mixed: Books) -> None:
    report = _report(mixed)
    assert (report.problems, report.entries) == ([], 2)


@pytest.mark.parametrize("value", ["sun", None])
def test_altered_fact_of_the_later_version_is_noticed(mixed: Books, value: str | None) -> None:
    """Also when it is emptied, as in an entry of the earlier version."""
    rows(mixed.path, "UPDATE queries SET weather = ? WHERE id = 2", value)
    [problem] = _report(mixed).problems
    assert problem.startswith("entry 2: its hash is wrong")


def test_fact_that_an_entry_does_not_cover_must_be_empty(mixed: Books) -> None:
    """Else it could be invented for old queries, without a trace."""
    rows(mixed.path, "UPDATE queries SET weather = 'rain' WHERE id = 1")
    assert _report(mixed).problems == ["entry 1: query 1 has a value of weather, which its entry does not cover"]


def test_entry_that_is_hashed_again_in_an_earlier_version_is_noticed_by_a_head_noted_before(mixed: Books) -> None:
    """And by what comes after it, as with every hash that is forged."""
    noted = _report(mixed).head
    rows(mixed.path, "UPDATE queries SET weather = NULL WHERE id = 2")
    _rehash(mixed, PRETENDED, LATEST)
    assert _report(mixed).problems == []
    assert _report(mixed, expect=noted).problem_count == 1


def test_later_version_appends_its_facts_and_keeps_the_earlier_lists() -> None:
    facts: dict[str, Any] = {
        "late": Fact(int, since=3),
        "request_id": Fact(int, since=1),
        "b": Fact(int, since=2),
        "a": Fact(int, since=2),
    }
    first = VERSIONS[1]
    assert hashed_facts(facts) == {1: first, 2: (*first, "b", "a"), 3: (*first, "b", "a", "late")}


def test_every_column_is_covered_by_a_hash_or_compared_with_the_entry() -> None:
    compared = {"id", "status", "created_at", "finished_at", "answer_sha256"}
    assert {column.name for column in queries.c} == compared | set(VERSIONS[LATEST])


def test_hash_of_the_first_version_is_what_it_was() -> None:
    """By hand: the JSON list of version 1 behind the hash before, as every release has written it."""
    facts = dict.fromkeys(VERSIONS[1], "x") | {"samples": 3, "idempotency_key": None}
    written = b'[1,"admitted",2.5,7,"x","x","x","x",3,"x",null,"x","x"]'
    assert link(bytes(32), 1, ADMITTED, 2.5, 7, facts, version=1) == sha256(bytes(32) + written).digest()
