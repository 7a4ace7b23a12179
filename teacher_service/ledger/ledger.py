"""The one place that counts samples: reserve, settle, release.

Unit: one sample. A request's allowance is reserved, and its log row and idempotency row written, in one transaction
before the model runs; it is settled, and its answer stored, in one transaction that is on disk before the answer
leaves. A power cut may lose a reservation; it also ends this process, which then has not sent the answer.

Invariant, kept by the database itself: `used + reserved <= quota`, also when processes write at the same time, or die.
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
from teacher_service.ledger.write_batch import StoredAnswer, WriteBatch
from teacher_service.policy.quota import Quota

Clock = Callable[[], float]
"""Seconds since the epoch."""


@dataclass(frozen=True)
class Reservation:
    """Samples that are held for a query, until they are settled or released."""

    query_id: int
    query: Query
    quota: Quota


@dataclass(frozen=True)
class Settled:
    """A charged answer, and the quota after it. `replayed` if it was charged earlier."""

    answer: Body
    quota: Quota
    replayed: bool
    kept_until: float | None = None
    """Until when it can be replayed, in seconds since the epoch; None without an Idempotency-Key, or without an end."""


@dataclass(frozen=True)
class _Request:
    query: Query
    key_revision: int


@dataclass(frozen=True)
class _Rejection:
    key_id: str
    key_revision: int


@dataclass(frozen=True)
class _Settlement:
    reservation: Reservation
    answer: Body


@dataclass(frozen=True)
class _Release:
    reservation: Reservation
    answer: Body | None


_Entry = _Request | _Rejection | _Settlement | _Release


class Ledger:
    """Counts on one database. Writing operations return futures; see `GroupCommit` for what these carry.

    An answer is kept for `retention_seconds`, so that its Idempotency-Key can replay it. It is kept for ever if
    that is `inf`, or ends after the last date of the calendar.
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
        """Release every hold of a process that is no longer alive; return the number of samples released.

        Call it before the first reservation of this process.
        """

        def operation(connection: Connection) -> int:
            batch = WriteBatch(connection, self._clock())
            released = self._free_the_dead(batch, connection)
            batch.write()
            return released

        return self._commits.submit(operation).result()

    def try_to_write(self) -> "Future[None]":
        """Read the keys and write a value without meaning: a test of whether a query could be counted now."""

        def operation(connection: Connection) -> None:
            connection.execute(select(api_keys.c.id).limit(1))
            write_probe(connection)

        return self._commits.submit(operation)

    def replay(self, key_id: str, idempotency_key: str, payload_sha256: str, key_revision: int = 0) -> Settled | None:
        """The stored answer to exactly this request, or None. Nothing is changed.

        Raises:
            Unauthorized: the key was revoked, or expired.
            KeyChanged: the key has other terms now.
            LedgerUnavailable: the database cannot be read.
        """
        try:
            with reading(self._engine) as connection:
                batch = WriteBatch(connection, self._clock())
                batch.read(keys=[key_id], answers=[(key_id, idempotency_key)])
                key, stored = _key(batch, key_id, key_revision), batch.stored_answer(key_id, idempotency_key)
                if stored is None or stored.answer is None or stored.payload_sha256 != payload_sha256:
                    return None
                return Settled(stored.answer, key, replayed=True, kept_until=stored.kept_until)
        except SQLAlchemyError as error:
            raise LedgerUnavailable("The ledger cannot be read, so nothing was admitted. Try again soon.") from error

    def reserve(self, query: Query, key_revision: int = 0) -> "Future[Reservation | Settled]":
        """Hold the query's samples, or return the stored answer if its Idempotency-Key has one.

        Args:
            query: the query as the log records it.
            key_revision: the revision of the terms on which the caller admitted the query.

        The future may carry QuotaExceeded, RateLimited, TooManySamples, RequestInProgress, IdempotencyMismatch,
        AnswerExpired, Unauthorized (revoked or expired meanwhile), KeyChanged (other terms meanwhile).
        """
        request = _Request(query, key_revision)
        return self._commits.submit_item(self._count, request, may_be_lost=True, undo=self._free_unacknowledged)

    def count_rejection(self, key_id: str, key_revision: int) -> "Future[Quota]":
        """Count a request that was rejected as invalid against the rate limit alone; return the quota afterwards.

        The future may carry RateLimited, Unauthorized, KeyChanged.
        """
        return self._commits.submit_item(self._count, _Rejection(key_id, key_revision), may_be_lost=True)

    def settle(self, reservation: Reservation, answer: Body) -> "Future[Settled]":
        """Charge the held samples and store the answer for replay.

        The future carries LedgerUnavailable if the hold was lost; then nothing is charged. It carries LedgerUnavailable
        too if the commit failed; then only `release` can say whether the samples were charged.
        """
        return self._commits.submit_item(self._count, _Settlement(reservation, answer))

    def release(self, reservation: Reservation, answer: Body | None = None) -> "Future[Settled | None]":
        """Give the held samples back, and free the Idempotency-Key. A second release changes nothing.

        Args:
            reservation: what is held.
            answer: that of a `settle` which failed. If its commit arrived, the samples are charged and stay charged,
                and the future carries the charged answer.
        """
        return self._commits.submit_item(self._count, _Release(reservation, answer))

    def forget_answers(self, at_most: int = 1000) -> "Future[int]":
        """Empty answers whose retention time is over; return how many. Their rows stay, for AnswerExpired."""

        def operation(connection: Connection) -> int:
            ended = select(answers.c.query_id).where(
                answers.c.kept_until <= self._clock(), answers.c.content.is_not(None)
            )
            expired = connection.scalars(ended.order_by(answers.c.kept_until).limit(at_most)).all()
            connection.execute(update(answers).where(answers.c.query_id.in_(expired)).values(content=None))
            return len(expired)

        return self._commits.submit(operation)

    def _count(self, connection: Connection, entries: Sequence[_Entry]) -> list[Any]:
        batch = WriteBatch(connection, self._clock())
        requested = [entry.query for entry in entries if isinstance(entry, _Request)]
        released = [entry.reservation.query for entry in entries if isinstance(entry, _Release)]
        rejected = [entry for entry in entries if isinstance(entry, _Rejection)]
        ends = [entry.reservation for entry in entries if isinstance(entry, _Settlement | _Release)]
        batch.read(
            keys={query.key_id for query in requested}
            | {entry.key_id for entry in rejected}
            | {reservation.query.key_id for reservation in ends},
            holds={reservation.query_id for reservation in ends},
            answers={
                (query.key_id, query.idempotency_key)
                for query in (*requested, *released)
                if query.idempotency_key is not None
            },
        )
        outcomes: list[Any] = []
        for entry in entries:
            try:
                outcomes.append(self._outcome(batch, connection, entry))
            except ServiceError as error:
                outcomes.append(error)
        batch.write()
        return outcomes

    def _outcome(
        self, batch: WriteBatch, connection: Connection, entry: _Entry
    ) -> Reservation | Settled | Quota | None:
        match entry:
            case _Request():
                try:
                    return self._admit(batch, entry)
                except (RequestInProgress, QuotaExceeded, TooManyAtOnce):
                    # The obstacle may be a hold of a process that died since the last check.
                    if not self._free_the_dead(batch, connection):
                        raise
                    return self._admit(batch, entry)
            case _Rejection(key_id, key_revision):
                _check_pace(_key(batch, key_id, key_revision), requests=1, samples=0)
                batch.spend(key_id, requests=1)
                return batch.quota(key_id)
            case _Settlement(reservation, answer):
                query = reservation.query
                kept_until = None if query.idempotency_key is None else self._end_of_retention(batch)
                if not batch.settle(reservation.query_id, answer, kept_until):
                    raise LedgerUnavailable(
                        "The hold on this request was lost, so its answer was not charged. Try again."
                    )
                return Settled(answer, batch.quota(query.key_id), replayed=False, kept_until=kept_until)
            case _Release(reservation, answer):
                batch.free(reservation.query_id)
                if answer is None or not batch.is_settled(reservation.query_id):
                    return None
                query = reservation.query
                stored = query.idempotency_key and batch.stored_answer(query.key_id, query.idempotency_key)
                kept_until = stored.kept_until if stored else None
                return Settled(answer, batch.quota(query.key_id), replayed=False, kept_until=kept_until)

    def _admit(self, batch: WriteBatch, request: _Request) -> Reservation | Settled:
        """Hold the samples, or return the stored answer. Every error is raised before anything is changed."""
        query = request.query
        key = _key(batch, query.key_id, request.key_revision)
        if query.idempotency_key is not None:
            stored = batch.stored_answer(query.key_id, query.idempotency_key)
            if stored is not None:
                answer = _replayed_answer(stored, query.payload_sha256)
                return Settled(answer, key, replayed=True, kept_until=stored.kept_until)
        if key.used + key.reserved + query.samples > key.limit:
            raise QuotaExceeded(key, query.samples)
        _check_pace(key, requests=1, samples=query.samples)
        if key.terms.max_concurrent is not None and key.in_flight >= key.terms.max_concurrent:
            raise TooManyAtOnce(key)
        batch.spend(query.key_id, requests=1, samples=query.samples)
        query_id = batch.admit({**vars(query), "instance_id": self._instance.id})
        return Reservation(query_id, query, batch.quota(query.key_id))

    def _free_unacknowledged(
        self, connection: Connection, outcomes: Sequence[Reservation | Settled]
    ) -> Sequence[Reservation | Settled]:
        """Release the holds of commits that failed and arrived all the same; return their reservations.

        A query id that was not committed is used again, by this process only after this transaction: so a hold of this
        process with such an id is the one that failed.
        """
        batch = WriteBatch(connection, self._clock())
        reservations = {outcome.query_id: outcome for outcome in outcomes if isinstance(outcome, Reservation)}
        freed = [query_id for query_id in batch.held_by(self._instance.id) if query_id in reservations]
        for query_id in freed:
            batch.free(query_id)
        batch.write()
        return [reservations[query_id] for query_id in freed]

    def _end_of_retention(self, batch: WriteBatch) -> float | None:
        end = batch.now + self._retention_seconds
        return end if end <= LAST else None

    def _free_the_dead(self, batch: WriteBatch, connection: Connection) -> int:
        owners = connection.scalars(select(queries.c.instance_id).where(queries.c.status == "held").distinct()).all()
        dead = [owner for owner in owners if not self._instance.is_alive(owner)]
        return sum(batch.free(query_id) for owner in dead for query_id in batch.held_by(owner))


def _key(batch: WriteBatch, key_id: str, revision: int) -> Quota:
    key = batch.key(key_id)
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
        limit = f"the key may send {bucket.per_minute} {unit} a minute, and {bucket.remaining} are left"
        raise RateLimited(key, limit, ceil(bucket.seconds_until(cost)))


def _replayed_answer(stored: StoredAnswer, payload_sha256: str) -> Body:
    if stored.payload_sha256 != payload_sha256:
        raise IdempotencyMismatch(
            "Idempotency-Key: expected the payload that this key is in use with, got another. Repeat "
            "that payload, or use a new key."
        )
    if stored.answer is not None:
        return stored.answer
    if stored.kept_until is not None:
        raise AnswerExpired(stored.kept_until)
    raise RequestInProgress("Idempotency-Key: the same request is being answered now. Repeat it in a second.")
