"""`teacher-service log export`: every query, in each format, from one snapshot."""

import csv
import io
import json
import sys
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import structlog
from typer.testing import CliRunner, Result

from shared.oip import Body
from teacher_service.cli.command import app
from teacher_service.database.engine import open_database
from teacher_service.ledger.ledger import Reservation
from teacher_service.query_log.export import COLUMNS, FACTS, export_rows
from tests.teacher_service.ledger_file import WAIT_SECONDS, open_books, query, rows
from tests.teacher_service.told_ledger import tell

FORMATS = ["jsonl", "csv", "parquet"]


@pytest.fixture(autouse=True)
def _logs_of_the_command_end_with_it() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """The folder of a ledger to which everything has happened."""
    tell(tmp_path / "ledger.sqlite")
    return tmp_path


def _export(data_dir: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["log", "export", *arguments, "--data-dir", str(data_dir)])


def _read(content: bytes, file_format: str) -> list[dict[str, Any]]:
    """What another program finds: all values as text, None as an empty one."""
    if file_format == "jsonl":
        found = [json.loads(line) for line in content.splitlines()]
    elif file_format == "csv":
        found = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    else:
        found = pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
        for row in found:
            for name in ("created_at", "finished_at"):
                row[name] = row[name] and row[name].isoformat(timespec="microseconds")
    return [{name: "" if value is None else str(value) for name, value in row.items()} for row in found]


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_fact_is_in_every_format(told: Path, file_format: str) -> None:
    found = _read(_export(told, "--format", file_format).stdout_bytes, file_format)
    path = told / "ledger.sqlite"
    facts = ", ".join(FACTS)
    stored = rows(path, f"SELECT {facts} FROM queries ORDER BY id")
    assert len(found) == len(stored) == 7
    for row, values in zip(found, stored, strict=True):
        assert tuple(row) == COLUMNS
        events = rows(path, "SELECT sequence, sha256 FROM query_events WHERE query_id = ? ORDER BY 1", values[0])
        expected = dict(zip(COLUMNS, values, strict=False))
        for when, (sequence, digest) in zip(("admitted", "finished"), events, strict=False):
            expected |= {f"{when}_sequence": sequence, f"{when}_sha256": digest.hex()}
        for name in ("created_at", "finished_at"):
            at = expected[name]
            expected[name] = at and datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
        assert row == {name: "" if expected.get(name) is None else str(expected[name]) for name in COLUMNS}


def test_file_is_there_when_it_is_whole(told: Path) -> None:
    (told / "log.csv").write_text("an older one")
    assert _export(told, "--format", "csv", "--output", str(told / "log.csv")).stdout == ""
    assert (told / "log.csv").read_bytes() == _export(told, "--format", "csv").stdout_bytes
    assert list(told.glob(".log*")) == []


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["--since", "1970-01-13"], [5, 6, 7]),
        (["--until", "1970-01-13"], [1, 2, 3, 4]),
        (["--since", "1970-01-12T13:46:42+00:00", "--until", "1970-01-12T13:46:45Z"], [2, 3]),
        (["--since", "2100-01-01"], []),
    ],
)
def test_only_what_is_asked_for(told: Path, arguments: list[str], ids: list[int]) -> None:
    """From `since` on, before `until`, in UTC."""
    assert [int(row["id"]) for row in _read(_export(told, *arguments).stdout_bytes, "jsonl")] == ids


def test_only_the_key_that_is_asked_for(told: Path) -> None:
    [(key_id,)] = rows(told / "ledger.sqlite", "SELECT id FROM api_keys WHERE name = 'second'")
    found = _read(_export(told, "--key", key_id).stdout_bytes, "jsonl")
    assert [int(row["id"]) for row in found] == [2, 4, 5, 7]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "'quoted", " =1"])
def test_spreadsheet_runs_no_formula_that_a_caller_chose(tmp_path: Path, name: str) -> None:
    """And the text can be had back by taking the ' away."""
    with open_books(tmp_path / "ledger.sqlite") as books:
        books.ledger.reserve(query(books.key(5), idempotency_key=name)).result(WAIT_SECONDS)
    [row] = _read(_export(tmp_path, "--format", "csv").stdout_bytes, "csv")
    assert row["idempotency_key"] == f"'{name}"
    [row] = _read(_export(tmp_path).stdout_bytes, "jsonl")
    assert row["idempotency_key"] == name


@pytest.mark.parametrize(
    ("status", "arguments", "message"),
    [
        (2, ["--since", "yesterday"], "since: expected an ISO 8601 date"),
        (2, ["--until", "2027-13-01"], "until: expected an ISO 8601 date"),
        (2, ["--format", "xml"], "xml"),
        (3, ["--output", "/nowhere/log.csv"], "/nowhere/log.csv: cannot be written (No such file or directory)"),
        (3, ["--data-dir", "nowhere"], "expected a ledger, got none"),
    ],
)
def test_wrong_call_is_explained(told: Path, status: int, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["log", "export", *arguments], env={"TEACHER_DATA_DIR": str(told)})
    assert (result.exit_code, result.stdout) == (status, "")
    assert message in result.stderr


def test_parquet_names_the_extra_that_it_needs(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = _export(told, "--format", "parquet", "--output", str(told / "log.parquet"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "pip install tuition[parquet]" in result.stderr
    assert list(told.glob("*log.parquet*")) == []


def test_snapshot_is_exported_while_the_service_writes(ledger_place: Path | str) -> None:
    with open_books(ledger_place) as books:
        key = books.key(10)

        def ask() -> None:
            held = books.ledger.reserve(query(key)).result(WAIT_SECONDS)
            assert isinstance(held, Reservation)
            books.ledger.settle(held, Body(b"{}", None)).result(WAIT_SECONDS)

        ask()
        found = export_rows(books.engine)
        first = next(found)
        ask()
        assert [first["id"], *(row["id"] for row in found)] == [1]
        assert [row["finished_sequence"] for row in export_rows(books.engine)] == [2, 4]


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    """A hundred thousand rows, of which Python holds a few thousand at a time."""
    path = tmp_path / "ledger.sqlite"
    with open_books(path) as books:
        books.ledger.reserve(query(books.key(10))).result(WAIT_SECONDS)
    columns = ", ".join(FACTS[1:])
    rows(
        path,
        "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) "
        f"INSERT INTO queries (id, {columns}) SELECT i, {columns} FROM n, queries WHERE queries.id = 1",
    )
    engine = open_database(path)
    tracemalloc.start()
    count = sum(1 for _ in export_rows(engine))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    engine.dispose()
    assert count == 100_000
    assert peak < 20 * 2**20
