"""The one place that counts: reserve, settle, release.

Unit: one sample. A request's allowance is reserved, and its log row and idempotency row written, in one transaction
before the model runs; it is settled, and its answer stored, in one transaction before the answer leaves.

Invariant, kept by the database itself: `used + reserved <= quota`, whatever runs at the same time and whatever dies.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from shared.oip import Body
from teacher_service.database import answers, api_keys, queries, reading
from teacher_service.errors import (
    INVALID_KEY,
    IdempotencyMismatch,
    LedgerUnavailable,
    QuotaExceeded,
    RequestInProgress,
    ServiceError,
    Unauthorized,
)
from teacher_service.group_commit import GroupCommit
from teacher_service.instance import Instance
from teacher_service.quota import Quota, quota_of, read_quota

Clock = Callable[[], float]
"""Seconds since the epoch."""


@dataclass(frozen=True)
class Query:
    """What is about to be asked, as the log will say it."""

    request_id: str
    key_id: str
    model_name: str
    model_version: str
    samples: int
    payload_sha256: str
    idempotency_key: str | None


@dataclass(frozen=True)
class Reservation:
    """An allowance that is held: settle it or release it."""

    query_id: int
    query: Query
    quota: Quota


@dataclass(frozen=True)
class Settled:
    """An answer that is paid for, and the quota after it. `replayed` when it was paid for earlier."""

    answer: Body
    quota: Quota
    replayed: bool


class Ledger:
    """Counts on one database. Writing operations return futures; see `GroupCommit` for what these carry."""

    def __init__(self, engine: Engine, commits: GroupCommit, instance: Instance, clock: Clock) -> None:
        self._engine = engine
        self._commits = commits
        self._instance = instance
        self._clock = clock

    def recover(self) -> int:
        """Release every hold of a process that is no longer alive; the number of samples released.

        Call it before the first reservation of this process.
        """
        return self._commits.submit(self._free_the_dead).result()

    def replay(self, key_id: str, idempotency_key: str, payload_sha256: str) -> Settled | None:
        """The stored answer to exactly this request, or None; changes nothing.

        Raises:
            LedgerUnavailable: the database cannot be read.
        """
        try:
            with reading(self._engine) as connection:
                row = _answer_row(connection, key_id, idempotency_key)
                if row is None or row.content is None or row.payload_sha256 != payload_sha256:
                    return None
                return Settled(Body(row.content, row.header_length), read_quota(connection, key_id), replayed=True)
        except SQLAlchemyError as error:
            raise LedgerUnavailable("The ledger cannot be read, so nothing was admitted. Try again soon.") from error

    def reserve(self, query: Query) -> "Future[Reservation | Settled]":
        """Hold the query's samples; or, when its Idempotency-Key was answered before, that answer.

        The future may carry QuotaExceeded, Unauthorized (revoked meanwhile), RequestInProgress, IdempotencyMismatch.
        """

        def operation(connection: Connection) -> Reservation | Settled:
            try:
                return self._admit(connection, query)
            except (RequestInProgress, QuotaExceeded):
                # What stands in the way may be the hold of a process that died since the last look.
                if not self._free_the_dead(connection):
                    raise
                return self._admit(connection, query)

        return self._commits.submit(operation)

    def settle(self, reservation: Reservation, answer: Body) -> "Future[Settled]":
        """Charge what was held and keep the answer for replay."""
        query = reservation.query

        def operation(connection: Connection) -> Settled:
            settled = connection.execute(
                update(queries)
                .where(queries.c.id == reservation.query_id, queries.c.status == "held")
                .values(status="settled", finished_at=self._clock())
            )
            if settled.rowcount != 1:
                raise LedgerUnavailable("The hold on this request was lost, so its answer was not charged. Try again.")
            connection.execute(
                update(api_keys)
                .where(api_keys.c.id == query.key_id)
                .values(used=api_keys.c.used + query.samples, reserved=api_keys.c.reserved - query.samples)
            )
            connection.execute(
                update(answers)
                .where(answers.c.query_id == reservation.query_id)
                .values(content=answer.content, header_length=answer.header_length)
            )
            return Settled(answer, read_quota(connection, query.key_id), replayed=False)

        return self._commits.submit(operation)

    def release(self, reservation: Reservation) -> "Future[None]":
        """Give back what was held, and free the Idempotency-Key. Releasing twice changes nothing."""

        def operation(connection: Connection) -> None:
            self._free(connection, reservation.query_id, reservation.query.key_id, reservation.query.samples)

        return self._commits.submit(operation)

    def _admit(self, connection: Connection, query: Query) -> Reservation | Settled:
        known = self._known_answer(connection, query)
        if known is not None:
            return known
        charge = (
            update(api_keys)
            .where(
                api_keys.c.id == query.key_id,
                api_keys.c.revoked_at.is_(None),
                api_keys.c.used + api_keys.c.reserved + query.samples <= api_keys.c.quota,
            )
            .values(reserved=api_keys.c.reserved + query.samples)
        )
        if connection.execute(charge).rowcount != 1:
            raise self._refusal(connection, query)
        query_id = self._log(connection, query)
        return Reservation(query_id, query, read_quota(connection, query.key_id))

    def _free_the_dead(self, connection: Connection) -> int:
        held = queries.c.status == "held"
        owners = connection.scalars(select(queries.c.instance_id).where(held).distinct()).all()
        released = 0
        for owner in owners:
            if self._instance.is_alive(owner):
                continue
            for row in connection.execute(select(queries).where(held, queries.c.instance_id == owner)).all():
                self._free(connection, row.id, row.key_id, row.samples)
                released += row.samples
        return released

    def _known_answer(self, connection: Connection, query: Query) -> Settled | None:
        if query.idempotency_key is None:
            return None
        row = _answer_row(connection, query.key_id, query.idempotency_key)
        if row is None:
            return None
        if row.payload_sha256 != query.payload_sha256:
            raise IdempotencyMismatch(
                "Idempotency-Key: this key was used with another payload. Repeat that payload, or use a new key."
            )
        if row.content is None:
            raise RequestInProgress("Idempotency-Key: the same request is being answered now. Repeat it in a moment.")
        return Settled(Body(row.content, row.header_length), read_quota(connection, query.key_id), replayed=True)

    def _refusal(self, connection: Connection, query: Query) -> ServiceError:
        row = connection.execute(select(api_keys).where(api_keys.c.id == query.key_id)).first()
        if row is None or row.revoked_at is not None:
            return Unauthorized(INVALID_KEY)
        return QuotaExceeded(quota_of(row), query.samples)

    def _log(self, connection: Connection, query: Query) -> int:
        inserted = connection.execute(
            insert(queries).values(
                request_id=query.request_id,
                key_id=query.key_id,
                model_name=query.model_name,
                model_version=query.model_version,
                samples=query.samples,
                payload_sha256=query.payload_sha256,
                idempotency_key=query.idempotency_key,
                status="held",
                instance_id=self._instance.id,
                created_at=self._clock(),
            )
        )
        query_id = int(inserted.inserted_primary_key.id)  # type: ignore[union-attr]  # one row was inserted
        if query.idempotency_key is not None:
            connection.execute(
                insert(answers).values(
                    key_id=query.key_id,
                    idempotency_key=query.idempotency_key,
                    payload_sha256=query.payload_sha256,
                    query_id=query_id,
                )
            )
        return query_id

    def _free(self, connection: Connection, query_id: int, key_id: str, samples: int) -> None:
        released = connection.execute(
            update(queries)
            .where(queries.c.id == query_id, queries.c.status == "held")
            .values(status="released", finished_at=self._clock())
        )
        if released.rowcount != 1:
            return
        connection.execute(
            update(api_keys).where(api_keys.c.id == key_id).values(reserved=api_keys.c.reserved - samples)
        )
        connection.execute(delete(answers).where(answers.c.query_id == query_id))


def _answer_row(connection: Connection, key_id: str, idempotency_key: str) -> Row[Any] | None:
    return connection.execute(
        select(answers).where(answers.c.key_id == key_id, answers.c.idempotency_key == idempotency_key)
    ).first()
