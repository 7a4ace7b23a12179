"""A ledger with a long past, written straight into its tables: what a service that ran for months would have left.

Invariant: it is whole. The chain, the sums and the answers are those of its queries, and `teacher-service log verify`
finds nothing wrong with it.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Final

import psycopg

from teacher_service.database.engine import open_database
from teacher_service.database.schema import queries
from teacher_service.keys.api_key import NewKey
from teacher_service.keys.store import KeyStore
from teacher_service.ledger.group_commit import GroupCommit
from teacher_service.ledger.hash_chain import ADMITTED, GENESIS, link

KEYS: Final = 8
DAYS: Final = 300
_DAY_SECONDS: Final = 86_400
_HELD: Final = 5
"""Of the newest; a service that starts releases them, as their process is gone."""
_KEYED_EVERY: Final = 10
_QUOTA: Final = 10**9
_ROWS: Final = 20_000

_QUERY_COLUMNS: Final = tuple(queries.c.keys())
_COLUMNS: Final[dict[str, Sequence[str]]] = {
    "queries": _QUERY_COLUMNS,
    "query_events": ("sequence", "query_id", "event", "at", "sha256"),
    "answers": ("key_id", "idempotency_key", "payload_sha256", "query_id", "kept_until"),
}

Rows = dict[str, list[tuple[Any, ...]]]


@dataclass
class Past:
    """What was written: who asked, and from when on."""

    keys: list[NewKey]
    begun_at: float
    queries: int
    used: Counter[str] = field(default_factory=Counter)
    reserved: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)
    days: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    sequence: int = 0
    sha256: bytes = GENESIS


def write_past(place: Path | str, queries: int) -> Past:
    """Fill an empty ledger, a SQLite file or a PostgreSQL database, with so many queries over 300 days until now."""
    begun_at = float(int(time.time()) - DAYS * _DAY_SECONDS)
    engine = open_database(place)
    commits = GroupCommit(engine)
    keys = KeyStore(engine, commits, lambda: begun_at)
    past = Past([keys.create(f"key {number}", _QUOTA) for number in range(KEYS)], begun_at, queries)
    commits.close()
    engine.dispose()
    if isinstance(place, str):
        _write_to_server(place, past)
    else:
        _write_to_file(place, past)
    return past


def _write_to_file(path: Path, past: Past) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for portion in _portions(past):
            for table, found in portion.items():
                columns = _COLUMNS[table]
                marks = ", ".join("?" * len(columns))
                connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", found)  # noqa: S608 - constant
        for sql, values in _sums(past):
            connection.execute(sql, values)


def _write_to_server(url: str, past: Past) -> None:
    with psycopg.connect(url) as connection:
        for portion in _portions(past):
            for table, found in portion.items():
                with connection.cursor().copy(f"COPY {table} ({', '.join(_COLUMNS[table])}) FROM STDIN") as copy:
                    for row in found:
                        copy.write_row(row)
        for sql, values in _sums(past):
            connection.execute(sql.replace("?", "%s").encode(), values)
        connection.execute("ANALYZE")


def _portions(past: Past) -> Iterator[Rows]:
    numbers = iter(range(1, past.queries + 1))
    while portion := list(islice(numbers, _ROWS)):
        rows: Rows = {table: [] for table in _COLUMNS}
        for number in portion:
            _ask(past, number, rows)
        yield rows


def _ask(past: Past, number: int, rows: Rows) -> None:
    """One query, from its admission to its end, which comes before the next."""
    key_id, samples = past.keys[number * 7 % 11 % KEYS].id, 1 + number % 64
    created_at = past.begun_at + number * DAYS * _DAY_SECONDS / past.queries
    digest = sha256(str(number).encode()).hexdigest()
    status = "settled"
    if number <= past.queries // 100 and number % 10 == 0:
        status = "released"
    elif number > past.queries - _HELD:
        status = "held"
    word = f"purchase {number}" if number % _KEYED_EVERY == 0 else None
    finished_at = None if status == "held" else created_at + 0.005
    facts = dict.fromkeys(_QUERY_COLUMNS) | {
        "id": number,
        "request_id": f"r{number:015x}",
        "key_id": key_id,
        "model_name": "teacher",
        "model_version": "0123456789abcdef",
        "samples": samples,
        "outputs": "logits",
        "payload_sha256": digest,
        "idempotency_key": word,
        "status": status,
        "instance_id": "0" * 32,
        "created_at": created_at,
        "finished_at": finished_at,
        "answer_sha256": digest if status == "settled" else None,
    }
    rows["queries"].append(tuple(facts.values()))
    for event, at in ((ADMITTED, created_at), (status, finished_at)):
        if at is not None:
            past.sequence += 1
            past.sha256 = link(past.sha256, past.sequence, event, at, number, facts)
            rows["query_events"].append((past.sequence, number, event, at, past.sha256))
    if word is not None and status != "released":
        rows["answers"].append((key_id, word, digest, number, finished_at))
    if status == "held":
        past.reserved[key_id] += samples
        past.in_flight[key_id] += 1
    elif finished_at is not None and status == "settled":
        past.used[key_id] += samples
        day = past.days.setdefault((key_id, int(finished_at // _DAY_SECONDS)), [0, 0])
        day[0] += 1
        day[1] += samples


def _sums(past: Past) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for key in past.keys:
        yield (
            "UPDATE api_keys SET used = ?, reserved = ?, in_flight = ? WHERE id = ?",
            (past.used[key.id], past.reserved[key.id], past.in_flight[key.id], key.id),
        )
    for (key_id, day), (count, samples) in past.days.items():
        yield (
            "INSERT INTO daily_usage (key_id, day, queries, samples) VALUES (?, ?, ?, ?)",
            (key_id, day, count, samples),
        )
    yield "UPDATE chain_head SET sequence = ?, sha256 = ?", (past.sequence, past.sha256)
