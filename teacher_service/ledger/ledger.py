"""The one place that counts: reserve, settle, release.

Unit: one sample. A request's allowance is reserved, and its log row and idempotency row written, in one transaction
before the model runs; it is settled, and its answer stored, in one transaction that is on disk before the answer
leaves. A reservation by itself may be lost in a power cut, which ends this process too: what it held was not answered.

Invariant, kept by the database itself: `used + reserved <= quota`, whatever runs at the same time and whatever dies.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from math import ceil
from typing import Any

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.exc import SQLAlchemyError

from shared.durable.engine import reading
from shared.durable.process_lock import ProcessLock
from shared.oip import Body
from shared.times import LAST
from teacher_service.database.engine import write_probe
from teacher_service.database.query_facts import Query
from teacher_service.database.schema import answers, api_keys, queries
from teacher_service.errors.service_errors import (
    INVALID_KEY,
    AnswerExpired,
    IdempotencyMismatch,
    KeyChanged,
    LedgerUnavailable,
    QuotaExceeded,
    RateLimited,
    RequestInProgress,
    ServiceError,
    TooManyAtOnce,
    TooManySamples,
    Unauthorized,
)
from teacher_service.ledger.group_commit import GroupCommit
from teacher_service.ledger.write_batch import Known, Page
from teacher_service.policy.quota import Quota

Clock = Callable[[], float]
"""Seconds since the epoch."""


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
    kept_until: float | None = None
    """How long it can be replayed, in seconds since the epoch; None without an Idempotency-Key, or for ever."""


@dataclass(frozen=True)
class _Request:
    query: Query
    key_revision: int


@dataclass(frozen=True)
class _Refusal:
    key_id: str
    key_revision: int


@dataclass(frozen=True)
class _Settlement:
    reservation: Reservation
    answer: Body


@dataclass(frozen=True)
class _Release:
    reservation: Reservation


_Entry = _Request | _Refusal | _Settlement | _Release


class Ledger:
    """Counts on one database. Writing operations return futures; see `GroupCommit` for what these carry.

    An answer is kept for `retention_seconds`, so that its Idempotency-Key can replay it: for ever where that is `inf`,
    or ends beyond the calendar.
    """

    def __init__(
        self,
        engine: Engine,
        commits: GroupCommit,
        instance: ProcessLock,
        clock: Clock,
        *,
        retention_seconds: float = 86_400.0,
    ) -> None:
        self._engine = engine
        self._commits = commits
        self._instance = instance
        self._clock = clock
        self._retention_seconds = retention_seconds

    def recover(self) -> int:
        """Release every hold of a process that is no longer alive; the number of samples released.

        Call it before the first reservation of this process.
        """

        def operation(connection: Connection) -> int:
            page = Page(connection, self._clock())
            released = self._free_the_dead(page, connection)
            page.write()
            return released

        return self._commits.submit(operation).result()

    def try_to_write(self) -> "Future[None]":
        """Read the keys and write what means nothing: whether a query could be counted now."""

        def operation(connection: Connection) -> None:
            connection.execute(select(api_keys.c.id).limit(1))
            write_probe(connection)

        return self._commits.submit(operation)

    def replay(self, key_id: str, idempotency_key: str, payload_sha256: str, key_revision: int = 0) -> Settled | None:
        """The stored answer to exactly this request, or None; changes nothing.

        Raises:
            Unauthorized: the key was revoked, or expired.
            KeyChanged: it is on other terms now.
            LedgerUnavailable: the database cannot be read.
        """
        try:
            with reading(self._engine) as connection:
                page = Page(connection, self._clock())
                page.read(keys=[key_id], known=[(key_id, idempotency_key)])
                key, known = _key(page, key_id, key_revision), page.known(key_id, idempotency_key)
                if known is None or known.answer is None or known.payload_sha256 != payload_sha256:
                    return None
                return Settled(known.answer, key, replayed=True, kept_until=known.kept_until)
        except SQLAlchemyError as error:
            raise LedgerUnavailable("The ledger cannot be read, so nothing was admitted. Try again soon.") from error

    def reserve(self, query: Query, key_revision: int = 0) -> "Future[Reservation | Settled]":
        """Hold the query's samples; or, when its Idempotency-Key was answered before, that answer.

        Args:
            query: what is asked.
            key_revision: that of the terms on which the caller let the query pass.

        The future may carry QuotaExceeded, RateLimited, TooManySamples, RequestInProgress, IdempotencyMismatch,
        AnswerExpired, Unauthorized (revoked or expired meanwhile), KeyChanged (other terms meanwhile: look again).
        """
        return self._commits.submit_item(self._count, _Request(query, key_revision), may_be_lost=True)

    def count_refusal(self, key_id: str, key_revision: int) -> "Future[Quota]":
        """Count a request that was refused for what it is against the burst limit alone; the quota afterwards.

        The future may carry RateLimited, Unauthorized, KeyChanged.
        """
        return self._commits.submit_item(self._count, _Refusal(key_id, key_revision), may_be_lost=True)

    def settle(self, reservation: Reservation, answer: Body) -> "Future[Settled]":
        """Charge what was held and keep the answer for replay.

        The future carries LedgerUnavailable when the hold was lost: nothing is charged then.
        """
        return self._commits.submit_item(self._count, _Settlement(reservation, answer))

    def release(self, reservation: Reservation) -> "Future[None]":
        """Give back what was held, and free the Idempotency-Key. Releasing twice changes nothing."""
        return self._commits.submit_item(self._count, _Release(reservation))

    def forget_answers(self, at_most: int = 1000) -> "Future[int]":
        """Empty answers that were kept for as long as was promised; how many. That they were given stays known."""

        def operation(connection: Connection) -> int:
            ended = select(answers.c.query_id).where(
                answers.c.kept_until <= self._clock(), answers.c.content.is_not(None)
            )
            found = connection.scalars(ended.order_by(answers.c.kept_until).limit(at_most)).all()
            connection.execute(update(answers).where(answers.c.query_id.in_(found)).values(content=None))
            return len(found)

        return self._commits.submit(operation)

    def _count(self, connection: Connection, entries: Sequence[_Entry]) -> list[Any]:
        page = Page(connection, self._clock())
        asked = [entry.query for entry in entries if isinstance(entry, _Request)]
        refused = [entry for entry in entries if isinstance(entry, _Refusal)]
        ends = [entry.reservation for entry in entries if isinstance(entry, _Settlement | _Release)]
        page.read(
            keys={query.key_id for query in asked}
            | {entry.key_id for entry in refused}
            | {reservation.query.key_id for reservation in ends},
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

    def _outcome(self, page: Page, connection: Connection, entry: _Entry) -> Reservation | Settled | Quota | None:
        match entry:
            case _Request():
                try:
                    return self._admit(page, entry)
                except (RequestInProgress, QuotaExceeded, TooManyAtOnce):
                    # What stands in the way may be the hold of a process that died since the last look.
                    if not self._free_the_dead(page, connection):
                        raise
                    return self._admit(page, entry)
            case _Refusal(key_id, key_revision):
                _check_pace(_key(page, key_id, key_revision), requests=1, samples=0)
                page.spend(key_id, requests=1)
                return page.quota(key_id)
            case _Settlement(reservation, answer):
                query = reservation.query
                kept_until = None if query.idempotency_key is None else self._end_of_retention(page)
                if not page.settle(reservation.query_id, answer, kept_until):
                    raise LedgerUnavailable(
                        "The hold on this request was lost, so its answer was not charged. Try again."
                    )
                return Settled(answer, page.quota(query.key_id), replayed=False, kept_until=kept_until)
            case _Release(reservation):
                page.free(reservation.query_id)
                return None

    def _admit(self, page: Page, request: _Request) -> Reservation | Settled:
        """Hold, or find the answer; a refusal is raised before anything is changed."""
        query = request.query
        key = _key(page, query.key_id, request.key_revision)
        known = page.known(query.key_id, query.idempotency_key) if query.idempotency_key is not None else None
        if known is not None:
            answer = _kept_answer(known, query.payload_sha256)
            return Settled(answer, key, replayed=True, kept_until=known.kept_until)
        if key.used + key.reserved + query.samples > key.limit:
            raise QuotaExceeded(key, query.samples)
        _check_pace(key, requests=1, samples=query.samples)
        if key.terms.max_concurrent is not None and key.in_flight >= key.terms.max_concurrent:
            raise TooManyAtOnce(key)
        page.spend(query.key_id, requests=1, samples=query.samples)
        query_id = page.admit({**vars(query), "instance_id": self._instance.id})
        return Reservation(query_id, query, page.quota(query.key_id))

    def _end_of_retention(self, page: Page) -> float | None:
        end = page.now + self._retention_seconds
        return end if end <= LAST else None

    def _free_the_dead(self, page: Page, connection: Connection) -> int:
        owners = connection.scalars(select(queries.c.instance_id).where(queries.c.status == "held").distinct()).all()
        dead = [owner for owner in owners if not self._instance.is_alive(owner)]
        return sum(page.free(query_id) for owner in dead for query_id in page.held_by(owner))


def _key(page: Page, key_id: str, revision: int) -> Quota:
    key = page.key(key_id)
    if key is None:
        raise Unauthorized(INVALID_KEY)
    if key.revision != revision:
        raise KeyChanged
    return key


def _check_pace(key: Quota, *, requests: int, samples: int) -> None:
    for bucket, cost, unit in ((key.requests, requests, "requests"), (key.samples, samples, "samples")):
        if bucket is None or cost <= bucket.remaining:
            continue
        if cost > bucket.per_minute:
            raise TooManySamples(key, cost)
        limit = f"the key may ask {bucket.per_minute} {unit} a minute, and {bucket.remaining} are left"
        raise RateLimited(key, limit, ceil(bucket.seconds_until(cost)))


def _kept_answer(known: Known, payload_sha256: str) -> Body:
    if known.payload_sha256 != payload_sha256:
        raise IdempotencyMismatch(
            "Idempotency-Key: this key was used with another payload. Repeat that payload, or use a new key."
        )
    if known.answer is not None:
        return known.answer
    if known.kept_until is not None:
        raise AnswerExpired(known.kept_until)
    raise RequestInProgress("Idempotency-Key: the same request is being answered now. Repeat it in a moment.")
