"""The one place that counts: reserve, settle, release.

Unit: one sample. A request's allowance is reserved, and its log row and idempotency row written, in one transaction
before the model runs; it is settled, and its answer stored, in one transaction before the answer leaves.

Invariant, kept by the database itself: `used + reserved <= quota`, whatever runs at the same time and whatever dies.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, select
from sqlalchemy.exc import SQLAlchemyError

from shared.oip import Body
from teacher_service.database import answers, queries, reading
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
from teacher_service.page import Page
from teacher_service.quota import Quota, read_quota

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


@dataclass(frozen=True)
class _Settlement:
    reservation: Reservation
    answer: Body


@dataclass(frozen=True)
class _Release:
    reservation: Reservation


_Entry = Query | _Settlement | _Release


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

        def operation(connection: Connection) -> int:
            page = Page(connection)
            released = self._free_the_dead(page, connection)
            page.write()
            return released

        return self._commits.submit(operation).result()

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
        return self._commits.submit_item(self._count, query)

    def settle(self, reservation: Reservation, answer: Body) -> "Future[Settled]":
        """Charge what was held and keep the answer for replay.

        The future carries LedgerUnavailable when the hold was lost: nothing is charged then.
        """
        return self._commits.submit_item(self._count, _Settlement(reservation, answer))

    def release(self, reservation: Reservation) -> "Future[None]":
        """Give back what was held, and free the Idempotency-Key. Releasing twice changes nothing."""
        return self._commits.submit_item(self._count, _Release(reservation))

    def _count(self, connection: Connection, entries: Sequence[_Entry]) -> list[Any]:
        page = Page(connection)
        asked = [entry for entry in entries if isinstance(entry, Query)]
        ends = [entry.reservation for entry in entries if not isinstance(entry, Query)]
        page.read(
            keys={query.key_id for query in asked} | {reservation.query.key_id for reservation in ends},
            holds={reservation.query_id for reservation in ends},
            known={(query.key_id, query.idempotency_key) for query in asked if query.idempotency_key is not None},
        )
        outcomes: list[Any] = []
        for entry in entries:
            try:
                outcomes.append(self._outcome(page, connection, entry))
            except ServiceError as refusal:
                outcomes.append(refusal)
        page.write()
        return outcomes

    def _outcome(self, page: Page, connection: Connection, entry: _Entry) -> Reservation | Settled | None:
        match entry:
            case Query():
                try:
                    return self._admit(page, entry)
                except (RequestInProgress, QuotaExceeded):
                    # What stands in the way may be the hold of a process that died since the last look.
                    if not self._free_the_dead(page, connection):
                        raise
                    return self._admit(page, entry)
            case _Settlement(reservation, answer):
                if not page.settle(reservation.query_id, answer, self._clock()):
                    raise LedgerUnavailable(
                        "The hold on this request was lost, so its answer was not charged. Try again."
                    )
                return Settled(answer, page.quota(reservation.query.key_id), replayed=False)
            case _Release(reservation):
                page.free(reservation.query_id, self._clock())
                return None

    def _admit(self, page: Page, query: Query) -> Reservation | Settled:
        """Hold, or find the answer; a refusal is raised before anything is changed."""
        key = page.key(query.key_id)
        known = page.known(query.key_id, query.idempotency_key) if query.idempotency_key is not None else None
        if known is not None:
            if known.payload_sha256 != query.payload_sha256:
                raise IdempotencyMismatch(
                    "Idempotency-Key: this key was used with another payload. Repeat that payload, or use a new key."
                )
            if known.answer is None:
                raise RequestInProgress(
                    "Idempotency-Key: the same request is being answered now. Repeat it in a moment."
                )
            return Settled(known.answer, page.quota(query.key_id), replayed=True)
        if key is None or key.revoked:
            raise Unauthorized(INVALID_KEY)
        if key.used + key.reserved + query.samples > key.limit:
            raise QuotaExceeded(page.quota(query.key_id), query.samples)
        query_id = page.admit({**asdict(query), "instance_id": self._instance.id, "created_at": self._clock()})
        return Reservation(query_id, query, page.quota(query.key_id))

    def _free_the_dead(self, page: Page, connection: Connection) -> int:
        owners = connection.scalars(select(queries.c.instance_id).where(queries.c.status == "held").distinct()).all()
        dead = [owner for owner in owners if not self._instance.is_alive(owner)]
        return sum(page.free(query_id, self._clock()) for owner in dead for query_id in page.held_by(owner))


def _answer_row(connection: Connection, key_id: str, idempotency_key: str) -> Row[Any] | None:
    return connection.execute(
        select(answers).where(answers.c.key_id == key_id, answers.c.idempotency_key == idempotency_key)
    ).first()
