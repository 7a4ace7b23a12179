"""The verification of the other tables: each agrees with the sums of the log, and each answer is as it was sent."""

import json
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Connection, Row, text

from teacher_service.query_log.verify_chain import STRANGE_VALUE, Log, Totals
from teacher_service.query_log.verify_report import Head

_ROWS: Final = 2000
_ANSWERS_AT_ONCE: Final = 20

_MISCOUNTED = text(
    "SELECT id, status, admitted, ended FROM (SELECT q.id, q.status, "
    "SUM(CASE WHEN e.event = 'admitted' THEN 1 ELSE 0 END) AS admitted, "
    "SUM(CASE WHEN e.event IN ('settled', 'released') THEN 1 ELSE 0 END) AS ended "
    "FROM queries q LEFT JOIN query_events e ON e.query_id = q.id GROUP BY q.id, q.status) AS counted "
    "WHERE admitted <> 1 OR ended <> CASE WHEN status = 'held' THEN 0 ELSE 1 END ORDER BY id"
)
_ANSWERS = text(
    "SELECT a.key_id, a.idempotency_key, a.payload_sha256, a.query_id, a.content, a.header_length, a.kept_until, "
    "q.id, q.status, q.answer_sha256, q.key_id AS query_key_id, q.idempotency_key AS query_idempotency_key, "
    "q.payload_sha256 AS query_payload_sha256 "
    "FROM answers a LEFT JOIN queries q ON q.id = a.query_id ORDER BY a.query_id"
)
_UNANSWERED = text(
    "SELECT q.id FROM queries q LEFT JOIN answers a ON a.query_id = q.id "
    "WHERE q.idempotency_key IS NOT NULL AND q.status <> 'released' AND a.query_id IS NULL ORDER BY q.id"
)
_KEYS = text("SELECT id, quota, used, reserved, in_flight FROM api_keys ORDER BY id")
_GRANTS = text("SELECT id, key_id, samples FROM grants ORDER BY id")
_STRAY_GRANTS = text("SELECT id, key_id FROM grants WHERE key_id NOT IN (SELECT id FROM api_keys) ORDER BY id")
_USAGE = text("SELECT key_id, day, queries, samples FROM daily_usage ORDER BY key_id, day")


def problems_of_head(connection: Connection, head: Head) -> Iterator[str]:
    """The stored head must be the last entry."""
    stored = [tuple(row) for row in connection.execute(text("SELECT id, sequence, sha256 FROM chain_head ORDER BY id"))]
    if stored != [(1, head.sequence, head.sha256)]:
        shown = ", ".join(f"{sequence}:{_shown(digest)}" for _, sequence, digest in stored) or "nothing"
        yield f"chain_head: expected {head}, the end of the log, got {shown}"


def problems_of_counts(connection: Connection) -> Iterator[str]:
    """Each query was admitted once, and ended once unless it is held."""
    for row in _streamed(connection, _MISCOUNTED, _ROWS):
        yield (
            f"query {row.id}: it is {row.status}, but in the log it was admitted {row.admitted} times and ended "
            f"{row.ended} times"
        )


def problems_of_answers(connection: Connection, now: float) -> Iterator[str]:
    """Each answer belongs to its query, and is stored for its whole retention time."""
    for row in _streamed(connection, _ANSWERS, _ANSWERS_AT_ONCE):
        try:
            problems = list(_problems_of_answer(row, now))
        except TypeError:
            problems = [STRANGE_VALUE]
        for problem in problems:
            yield f"answer to query {row.query_id}: {problem}"
    for row in _streamed(connection, _UNANSWERED, _ROWS):
        yield f"answer to query {row.id}: its query has an Idempotency-Key, but the row in answers is missing"


def _problems_of_answer(row: Row[Any], now: float) -> Iterator[str]:
    if row.id is None:
        yield "its query is missing"
        return
    if (row.key_id, row.idempotency_key, row.payload_sha256) != (
        row.query_key_id,
        row.query_idempotency_key,
        row.query_payload_sha256,
    ):
        yield "its key, Idempotency-Key or payload differs from the query's"
    if row.status == "settled":
        if row.content is not None and not _is_the_answer(row):
            yield "its bytes differ from those that were sent"
        elif row.content is None and (row.kept_until is None or row.kept_until > now):
            yield "its bytes were removed before the end of the retention time"
    elif row.status == "released" or (row.content, row.header_length, row.kept_until) != (None, None, None):
        yield f"it is stored, but the query is {row.status}"


def _is_the_answer(row: Row[Any]) -> bool:
    content, head = row.content, row.header_length
    if not isinstance(content, bytes):
        return False
    if row.answer_sha256 is not None and sha256(content).hexdigest() != row.answer_sha256:
        return False
    try:  # the hash covers the bytes, not the length of their head
        json.loads(content[:head])
    except (TypeError, ValueError):
        return False
    return head is None or 0 < head < len(content)


def problems_of_keys(connection: Connection, log: Log) -> Iterator[str]:
    """Each key's numbers are the sums of its queries and grants."""
    granted = Counter[object]()  # summed here: SQLite fails if the sum has more than 63 bits
    for row in _streamed(connection, _GRANTS, _ROWS):
        if isinstance(row.samples, int):
            granted[row.key_id] += row.samples
        else:
            yield f"grant {row.id}: {STRANGE_VALUE}"
    unseen = dict(log.totals)
    for row in _streamed(connection, _KEYS, _ROWS):
        logged = unseen.pop(row.id, Totals())
        for column, stored, summed in (
            ("used", row.used, logged.used),
            ("reserved", row.reserved, logged.reserved),
            ("in_flight", row.in_flight, logged.in_flight),
            ("quota", row.quota, granted[row.id]),
        ):
            if stored != summed:
                source = "its grants" if column == "quota" else "the log"
                yield f"key {row.id}: {column} is {stored}, but the sum of {source} is {summed}"
        if logged.used + logged.reserved > granted[row.id]:
            yield f"key {row.id}: more was admitted than granted"
    for key_id in unseen:
        yield f"key {key_id}: it is in the log, but not in api_keys"
    for row in connection.execute(_STRAY_GRANTS):
        yield f"grant {row.id}: its key {row.key_id} is missing"


def problems_of_usage(connection: Connection, log: Log) -> Iterator[str]:
    """Each day's numbers are the sums of its queries."""
    unseen = dict(log.usage)
    for row in _streamed(connection, _USAGE, _ROWS):
        logged = unseen.pop((row.key_id, row.day), None)
        if [row.queries, row.samples] != logged:
            queries, samples = logged or (0, 0)
            yield (
                f"daily_usage of key {row.key_id}, day {row.day}: {row.queries} queries of {row.samples} samples, but "
                f"the sum of the log is {queries} of {samples}"
            )
    for key_id, day in unseen:
        yield f"daily_usage of key {key_id}, day {day}: it is missing"


def _shown(digest: object) -> str:
    return digest.hex() if isinstance(digest, bytes) else repr(digest)


def _streamed(connection: Connection, statement: Any, rows: int) -> Iterator[Row[Any]]:
    yield from connection.execute(statement, execution_options={"yield_per": rows})
