"""The rows that the operations of one commit use: read together, changed in memory, written together.

A hundred reservations cost as few statements as one. The caller holds the database's one write
lock, so nothing that was read can change before it is written; and what a key has used, reserved and in flight is
written as differences, under the table's own constraint.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, insert, select, text, update

from shared.oip import Body
from teacher_service.database.schema import answers, api_keys, chain_head, queries, query_events
from teacher_service.ledger.compiled_sql import Change, Lookup
from teacher_service.ledger.hash_chain import ADMITTED, link
from teacher_service.ledger.key_rows import quota_of
from teacher_service.policy.quota import Quota

SECONDS_A_DAY: Final = 86_400

_KEYS = Lookup(select(api_keys), api_keys.c.id)
_QUERIES = select(queries.c.id, queries.c.key_id, queries.c.samples, queries.c.status, queries.c.idempotency_key)
_QUERIES_BY_ID = Lookup(_QUERIES, queries.c.id)
_ANSWERS = Lookup(select(answers), answers.c.key_id, answers.c.idempotency_key)
_LAST_ID = Lookup(select(func.max(queries.c.id).label("id")))
_HEAD = Lookup(select(chain_head))
_CHARGE = Change(
    update(api_keys)
    .where(api_keys.c.id == bindparam("key"))
    .values(
        used=api_keys.c.used + bindparam("more_used"),
        reserved=api_keys.c.reserved + bindparam("more_reserved"),
        in_flight=api_keys.c.in_flight + bindparam("more_in_flight"),
    )
)
_SLOW_DOWN = Change(
    update(api_keys)
    .where(api_keys.c.id == bindparam("key"))
    .values(
        requests_debt=bindparam("requests"),
        requests_debt_at_ms=bindparam("requests_at"),
        samples_debt=bindparam("samples"),
        samples_debt_at_ms=bindparam("samples_at"),
    )
)
_CLOSE = Change(
    update(queries)
    .where(queries.c.id == bindparam("query"), queries.c.status == "held")
    .values(status=bindparam("outcome"), finished_at=bindparam("at"), answer_sha256=bindparam("digest"))
)
_FORGET_ANSWER = Change(delete(answers).where(answers.c.query_id == bindparam("query")))
_ADMIT = Change(
    insert(queries),
    (column for column in queries.c if column not in (queries.c.finished_at, queries.c.answer_sha256)),
)
_AWAIT_ANSWER = Change(
    insert(answers), (answers.c.key_id, answers.c.idempotency_key, answers.c.payload_sha256, answers.c.query_id)
)
_KEEP_ANSWER = Change(
    update(answers)
    .where(answers.c.query_id == bindparam("query"))
    .values(content=bindparam("bytes"), header_length=bindparam("head"), kept_until=bindparam("until"))
)
_ADD_USAGE = Change(
    text(
        "INSERT INTO daily_usage (key_id, day, queries, samples) VALUES (:key, :day, :queries, :samples) "
        "ON CONFLICT (key_id, day) DO UPDATE SET "
        "queries = daily_usage.queries + excluded.queries, samples = daily_usage.samples + excluded.samples"
    )
)
_ADD_EVENT = Change(insert(query_events), query_events.c)
_CHAIN_ON = Change(
    update(chain_head).where(chain_head.c.id == 1).values(sequence=bindparam("last"), sha256=bindparam("digest"))
)


@dataclass
class Hold:
    """A query in the state that it will have after this commit."""

    key_id: str
    samples: int
    status: str
    idempotency_key: str | None


@dataclass
class StoredAnswer:
    """The row of an Idempotency-Key.

    Without `answer` and `kept_until`, the request is in flight. With `kept_until` alone, the answer expired then.
    """

    query_id: int
    payload_sha256: str
    answer: Body | None = None
    kept_until: float | None = None


@dataclass
class _Written:
    """The rows that this commit will write, by statement."""

    admitted: list[dict[str, Any]] = field(default_factory=list)
    awaited: dict[int, dict[str, Any]] = field(default_factory=dict)
    closed: list[dict[str, Any]] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)
    forgotten: list[dict[str, Any]] = field(default_factory=list)
    events: list[tuple[str, float, int, Mapping[str, Any]]] = field(default_factory=list)
    usage: dict[tuple[str, int], list[int]] = field(default_factory=dict)


class WriteBatch:
    """Rows of keys, queries and answers, for one commit at `now`, in seconds since the epoch."""

    def __init__(self, connection: Connection, now: float) -> None:
        self._connection = connection
        self.now = now
        self._keys: dict[str, Quota] = {}
        self._keys_before: dict[str, Quota] = {}
        self._invalid: set[str] = set()
        self._holds: dict[int, Hold] = {}
        self._answers: dict[tuple[str, str], StoredAnswer] = {}
        self._last_id: int | None = None
        self._written = _Written()

    def read(
        self, keys: Collection[str] = (), holds: Collection[int] = (), answers: Collection[tuple[str, str]] = ()
    ) -> None:
        """Read those of these rows that exist, before they are changed. `answers` are (key id, Idempotency-Key)."""
        if keys:
            for row in _KEYS.rows(self._connection, [(key_id,) for key_id in keys]):
                self._keys[row.id] = self._keys_before[row.id] = quota_of(row, self.now)
                if row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= self.now):
                    self._invalid.add(row.id)
        if holds:
            self.take(_QUERIES_BY_ID.rows(self._connection, [(query_id,) for query_id in holds]))
        if answers:
            for row in _ANSWERS.rows(self._connection, list(answers)):
                gone = row.content is None or (row.kept_until is not None and row.kept_until <= self.now)
                answer = None if gone else Body(row.content, row.header_length)
                self._answers[row.key_id, row.idempotency_key] = StoredAnswer(
                    row.query_id, row.payload_sha256, answer, row.kept_until
                )

    def take(self, rows: Iterable[Any]) -> list[int]:
        """Take queries that were read elsewhere, and read their keys; return the ids of the queries."""
        holds = {row.id: Hold(row.key_id, row.samples, row.status, row.idempotency_key) for row in rows}
        self._holds |= {query_id: hold for query_id, hold in holds.items() if query_id not in self._holds}
        self.read(keys={hold.key_id for hold in holds.values()} - self._keys.keys())
        return list(holds)

    def held_by(self, instance_id: str) -> list[int]:
        """Read the queries that this process holds, as they were before this commit; return their ids."""
        held = _QUERIES.where(queries.c.status == "held", queries.c.instance_id == instance_id)
        return self.take(self._connection.execute(held))

    def key(self, key_id: str) -> Quota | None:
        """A key in the state after this commit; None if there is none, or it is revoked or expired."""
        return None if key_id in self._invalid else self._keys.get(key_id)

    def quota(self, key_id: str) -> Quota:
        """The quota of a key that was read, valid or not."""
        return self._keys[key_id]

    def stored_answer(self, key_id: str, idempotency_key: str) -> StoredAnswer | None:
        """The row of an Idempotency-Key, if it has one."""
        return self._answers.get((key_id, idempotency_key))

    def spend(self, key_id: str, *, requests: int = 0, samples: int = 0) -> None:
        """Count requests and samples against the key's rate limits, if it has any."""
        key = self._keys[key_id]
        self._keys[key_id] = replace(
            key,
            requests=key.requests and key.requests.spend(requests),
            samples=key.samples and key.samples.spend(samples),
        )

    def admit(self, facts: Mapping[str, Any]) -> int:
        """Hold the samples of a query that the quota covers, and log it; return its id. `facts` are its columns."""
        if self._last_id is None:
            [last] = _LAST_ID.rows(self._connection)
            self._last_id = last.id or 0
        self._last_id += 1
        query_id, key_id, idempotency_key = self._last_id, facts["key_id"], facts["idempotency_key"]
        key = self._keys[key_id]
        self._keys[key_id] = replace(key, reserved=key.reserved + facts["samples"], in_flight=key.in_flight + 1)
        self._written.admitted.append({**facts, "id": query_id, "status": "held", "created_at": self.now})
        self._written.events.append((ADMITTED, self.now, query_id, facts))
        if idempotency_key is not None:
            self._answers[key_id, idempotency_key] = StoredAnswer(query_id, facts["payload_sha256"])
            self._written.awaited[query_id] = {
                "key_id": key_id,
                "idempotency_key": idempotency_key,
                "payload_sha256": facts["payload_sha256"],
                "query_id": query_id,
            }
        return query_id

    def settle(self, query_id: int, answer: Body, kept_until: float | None) -> bool:
        """Charge the held samples and store the answer; return False, and change nothing, if the query is not held."""
        hold = self._close(query_id, "settled", sha256(answer.content).hexdigest())
        if hold is None:
            return False
        key = self._keys[hold.key_id]
        self._keys[hold.key_id] = replace(key, used=key.used + hold.samples)
        total = self._written.usage.setdefault((hold.key_id, int(self.now // SECONDS_A_DAY)), [0, 0])
        total[0] += 1
        total[1] += hold.samples
        if hold.idempotency_key is not None:
            self._written.kept.append(
                {"query": query_id, "bytes": answer.content, "head": answer.header_length, "until": kept_until}
            )
            stored = self._answers.get((hold.key_id, hold.idempotency_key))
            if stored is not None:
                stored.answer, stored.kept_until = answer, kept_until
        return True

    def free(self, query_id: int) -> int:
        """Give the held samples back, and free the Idempotency-Key; return their number, 0 if the query is not held."""
        hold = self._close(query_id, "released", None)
        if hold is None:
            return 0
        if hold.idempotency_key is not None:
            self._written.forgotten.append({"query": query_id})
            self._answers.pop((hold.key_id, hold.idempotency_key), None)
        return hold.samples

    def is_settled(self, query_id: int) -> bool:
        """Whether a query that was read is charged, after this commit."""
        hold = self._holds.get(query_id)
        return hold is not None and hold.status == "settled"

    def write(self) -> None:
        """Write every change, with one statement for each kind."""
        written = self._written
        for change, rows in (
            (_CHARGE, self._charges()),
            (_SLOW_DOWN, self._debts()),
            (_CLOSE, written.closed),
            (_FORGET_ANSWER, written.forgotten),
            (_ADMIT, written.admitted),
            (_AWAIT_ANSWER, list(written.awaited.values())),
            (_KEEP_ANSWER, written.kept),
            (_ADD_USAGE, _usage_rows(written.usage)),
        ):
            if rows:
                change.run(self._connection, rows)
        if written.events:
            self._chain()

    def _close(self, query_id: int, outcome: str, digest: str | None) -> Hold | None:
        hold = self._holds.get(query_id)
        if hold is None or hold.status != "held":
            return None
        hold.status = outcome
        key = self._keys[hold.key_id]
        self._keys[hold.key_id] = replace(key, reserved=key.reserved - hold.samples, in_flight=key.in_flight - 1)
        self._written.closed.append({"query": query_id, "outcome": outcome, "at": self.now, "digest": digest})
        self._written.events.append((outcome, self.now, query_id, {"answer_sha256": digest}))
        return hold

    def _charges(self) -> list[dict[str, Any]]:
        return [
            {
                "key": key_id,
                "more_used": key.used - before.used,
                "more_reserved": key.reserved - before.reserved,
                "more_in_flight": key.in_flight - before.in_flight,
            }
            for key_id, key, before in self._changed()
            if (key.used, key.reserved, key.in_flight) != (before.used, before.reserved, before.in_flight)
        ]

    def _debts(self) -> list[dict[str, Any]]:
        return [
            {
                "key": key_id,
                "requests": key.requests.debt if key.requests else 0,
                "requests_at": key.requests.at_ms if key.requests else 0,
                "samples": key.samples.debt if key.samples else 0,
                "samples_at": key.samples.at_ms if key.samples else 0,
            }
            for key_id, key, before in self._changed()
            if (key.requests, key.samples) != (before.requests, before.samples)
        ]

    def _changed(self) -> list[tuple[str, Quota, Quota]]:
        return [
            (key_id, key, self._keys_before[key_id])
            for key_id, key in self._keys.items()
            if key is not self._keys_before[key_id]
        ]

    def _chain(self) -> None:
        [head] = _HEAD.rows(self._connection)
        sequence, digest = head.sequence, head.sha256
        entries = []
        for event, at, query_id, facts in self._written.events:
            sequence += 1
            digest = link(digest, sequence, event, at, query_id, facts)
            entries.append({"sequence": sequence, "query_id": query_id, "event": event, "at": at, "sha256": digest})
        _ADD_EVENT.run(self._connection, entries)
        _CHAIN_ON.run(self._connection, [{"last": sequence, "digest": digest}])


def _usage_rows(usage: Mapping[tuple[str, int], list[int]]) -> list[dict[str, Any]]:
    return [
        {"key": key_id, "day": day, "queries": count, "samples": samples}
        for (key_id, day), (count, samples) in usage.items()
    ]
