"""The rows that the operations of one commit touch: read together, changed in memory, written together.

A hundred reservations cost a handful of statements, not a hundred handfuls. The caller holds the database's one write
lock, so nothing that was read can change before it is written; and `used`, `reserved` are written as differences, under
the table's own constraint.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, tuple_, update

from shared.oip import Body
from teacher_service.database import answers, api_keys, queries
from teacher_service.quota import Quota

_KEYS = select(api_keys).where(api_keys.c.id.in_(bindparam("ids", expanding=True)))
_QUERIES = select(queries.c.id, queries.c.key_id, queries.c.samples, queries.c.status, queries.c.idempotency_key)
_QUERIES_BY_ID = _QUERIES.where(queries.c.id.in_(bindparam("ids", expanding=True)))
_ANSWERS = select(answers).where(
    tuple_(answers.c.key_id, answers.c.idempotency_key).in_(bindparam("pairs", expanding=True))
)
_LAST_ID = select(func.max(queries.c.id))
_CHARGE = (
    update(api_keys)
    .where(api_keys.c.id == bindparam("key"))
    .values(used=api_keys.c.used + bindparam("more_used"), reserved=api_keys.c.reserved + bindparam("more_reserved"))
)
_CLOSE = (
    update(queries)
    .where(queries.c.id == bindparam("query"), queries.c.status == "held")
    .values(status=bindparam("outcome"), finished_at=bindparam("at"))
)
_KEEP_ANSWER = (
    update(answers)
    .where(answers.c.query_id == bindparam("query"))
    .values(content=bindparam("bytes"), header_length=bindparam("head"))
)
_FORGET_ANSWER = delete(answers).where(answers.c.query_id == bindparam("query"))


@dataclass
class Key:
    """An API key as it will be after this commit."""

    name: str
    limit: int
    used: int
    reserved: int
    revoked: bool
    was_used: int
    was_reserved: int


@dataclass
class Hold:
    """A query as it will be after this commit."""

    key_id: str
    samples: int
    status: str
    idempotency_key: str | None


@dataclass
class Known:
    """What is stored under an Idempotency-Key; no answer while the request is being answered."""

    query_id: int
    payload_sha256: str
    answer: Body | None


class Page:
    """Rows of keys, queries and answers, for one commit."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._keys: dict[str, Key] = {}
        self._holds: dict[int, Hold] = {}
        self._known: dict[tuple[str, str], Known] = {}
        self._last_id: int | None = None
        self._admitted: list[dict[str, Any]] = []
        self._awaited: dict[int, dict[str, Any]] = {}
        self._closed: list[dict[str, Any]] = []
        self._kept: list[dict[str, Any]] = []
        self._forgotten: list[dict[str, Any]] = []

    def read(
        self, keys: Collection[str] = (), holds: Collection[int] = (), known: Collection[tuple[str, str]] = ()
    ) -> None:
        """Read those of these rows that are there; before anything is changed, or for rows not read yet."""
        if keys:
            for row in self._connection.execute(_KEYS, {"ids": list(keys)}):
                revoked = row.revoked_at is not None
                self._keys[row.id] = Key(row.name, row.quota, row.used, row.reserved, revoked, row.used, row.reserved)
        if holds:
            self.take(self._connection.execute(_QUERIES_BY_ID, {"ids": list(holds)}))
        if known:
            for row in self._connection.execute(_ANSWERS, {"pairs": list(known)}):
                answer = None if row.content is None else Body(row.content, row.header_length)
                self._known[row.key_id, row.idempotency_key] = Known(row.query_id, row.payload_sha256, answer)

    def take(self, rows: Iterable[Any]) -> list[int]:
        """Queries that were read elsewhere, and their keys; the ids of the queries."""
        found = {row.id: Hold(row.key_id, row.samples, row.status, row.idempotency_key) for row in rows}
        self._holds |= {query_id: hold for query_id, hold in found.items() if query_id not in self._holds}
        self.read(keys={hold.key_id for hold in found.values()} - self._keys.keys())
        return list(found)

    def held_by(self, instance_id: str) -> list[int]:
        """The queries that a process left open, as they stood before this commit."""
        held = _QUERIES.where(queries.c.status == "held", queries.c.instance_id == instance_id)
        return self.take(self._connection.execute(held))

    def key(self, key_id: str) -> Key | None:
        """A key, or None when there is no such."""
        return self._keys.get(key_id)

    def quota(self, key_id: str) -> Quota:
        """The quota of a key that exists."""
        key = self._keys[key_id]
        return Quota(key_id, key.name, key.limit, key.used, key.reserved)

    def known(self, key_id: str, idempotency_key: str) -> Known | None:
        """What is stored under an Idempotency-Key."""
        return self._known.get((key_id, idempotency_key))

    def admit(self, facts: Mapping[str, Any]) -> int:
        """Hold the samples of a query that the key can pay for, and log it; its id. `facts` are its columns."""
        if self._last_id is None:
            self._last_id = self._connection.scalar(_LAST_ID) or 0
        self._last_id += 1
        query_id, key_id, idempotency_key = self._last_id, facts["key_id"], facts["idempotency_key"]
        self._keys[key_id].reserved += facts["samples"]
        self._admitted.append({**facts, "id": query_id, "status": "held"})
        if idempotency_key is not None:
            self._known[key_id, idempotency_key] = Known(query_id, facts["payload_sha256"], None)
            self._awaited[query_id] = {
                "key_id": key_id,
                "idempotency_key": idempotency_key,
                "payload_sha256": facts["payload_sha256"],
                "query_id": query_id,
            }
        return query_id

    def settle(self, query_id: int, answer: Body, at: float) -> bool:
        """Charge what is held and keep the answer; False, and nothing done, when it is not held."""
        hold = self._close(query_id, "settled", at)
        if hold is None:
            return False
        self._keys[hold.key_id].used += hold.samples
        if hold.idempotency_key is not None:
            self._kept.append({"query": query_id, "bytes": answer.content, "head": answer.header_length})
            known = self._known.get((hold.key_id, hold.idempotency_key))
            if known is not None:
                known.answer = answer
        return True

    def free(self, query_id: int, at: float) -> int:
        """Give back what is held, and free the Idempotency-Key; the number of samples, 0 when it is not held."""
        hold = self._close(query_id, "released", at)
        if hold is None:
            return 0
        if hold.idempotency_key is not None:
            self._forgotten.append({"query": query_id})
            self._known.pop((hold.key_id, hold.idempotency_key), None)
        return hold.samples

    def write(self) -> None:
        """Write every change, in as few statements as there are kinds."""
        charged = [
            {"key": key_id, "more_used": key.used - key.was_used, "more_reserved": key.reserved - key.was_reserved}
            for key_id, key in self._keys.items()
            if (key.used, key.reserved) != (key.was_used, key.was_reserved)
        ]
        for statement, changes in (
            (_CHARGE, charged),
            (_CLOSE, self._closed),
            (_FORGET_ANSWER, self._forgotten),
            (insert(queries), self._admitted),
            (insert(answers), list(self._awaited.values())),
            (_KEEP_ANSWER, self._kept),
        ):
            if changes:
                self._connection.execute(statement, changes)

    def _close(self, query_id: int, outcome: str, at: float) -> Hold | None:
        hold = self._holds.get(query_id)
        if hold is None or hold.status != "held":
            return None
        hold.status = outcome
        self._keys[hold.key_id].reserved -= hold.samples
        self._closed.append({"query": query_id, "outcome": outcome, "at": at})
        return hold
