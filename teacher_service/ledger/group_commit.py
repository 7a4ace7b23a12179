"""One writer thread that lets concurrent operations share a commit.

A durable commit waits for the disk, and one commit of a hundred operations waits no longer than one of a single
operation. Operations of one kind are passed on together, so that they can share statements too.

Invariant: a future resolves only after the commit that holds its operation is on disk, or fails when it is not. An
operation that is submitted with `may_be_lost` does not wait for the disk, unless it shares its commit
with one that does.

A connection may break after the database has committed and before it says so. Then every future of the commit fails,
and the next transaction begins with the `undo` of its operations.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, NamedTuple, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from shared.durable.engine import let_commits_be_lost
from teacher_service.errors.service_errors import LedgerUnavailable, ServiceError

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
Together = Callable[[Connection, Sequence[Item]], Sequence[Outcome | ServiceError]]
"""Processes items in their order, and returns a result or an error for each. An item with an error changes nothing."""
Undo = Callable[[Connection, Sequence[Outcome]], Sequence[Outcome]]
"""Undoes those of the results that the database holds, and returns these. Their futures failed."""

_UNDO_RETRY_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


class _Job(NamedTuple):
    together: Together[Any, Any]
    item: Any
    future: "Future[Any]"
    may_be_lost: bool
    undo: Undo[Any] | None


class GroupCommit:
    """Runs operations on one connection; a commit holds those that wait when it begins, up to `max_group`."""

    def __init__(self, engine: Engine, *, max_group: int = 256) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._max_group = max_group
        self._unacknowledged: list[tuple[Undo[Any], Any]] = []
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def submit(self, operation: Callable[[Connection], Outcome]) -> "Future[Outcome]":
        """Run `operation` in a shared transaction, in a savepoint of its own.

        The future carries its result, the `ServiceError` that it raised, or `LedgerUnavailable` if the database
        failed. An operation may run inside a commit that fails, so it must have no effect outside the database.
        """
        return self.submit_item(_each_by_itself, operation)

    def submit_item(
        self,
        together: "Together[Item, Outcome]",
        item: Item,
        *,
        may_be_lost: bool = False,
        undo: Undo[Outcome] | None = None,
    ) -> "Future[Outcome]":
        """Pass `item` to `together`, with all waiting items of its kind. The future is as in `submit`.

        Args:
            together: processes the items.
            item: what to process.
            may_be_lost: whether a power cut (nothing else) may lose the item, so that it does not wait for the disk.
            undo: undoes the result if its commit failed and the database holds it all the same. It runs before any
                later operation, and again if its own commit failed.
        """
        future: Future[Outcome] = Future()
        self._jobs.put(_Job(together, item, future, may_be_lost, undo))
        return future

    def close(self) -> None:
        """Finish the submitted operations, then stop. Nothing may be submitted afterwards."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                first = self._jobs.get(timeout=_UNDO_RETRY_SECONDS if self._unacknowledged else None)
            except Empty:
                self._commit([])
                continue
            if first is None:
                break
            group = [first]
            stop = False
            while len(group) < self._max_group and not stop:
                try:
                    job = self._jobs.get_nowait()
                except Empty:
                    break
                if job is None:
                    stop = True
                else:
                    group.append(job)
            self._commit(group)
            if stop:
                break
        self._disconnect()

    def _commit(self, group: list[_Job]) -> None:
        # A caller may have cancelled its future; from now on it cannot, because resolving a cancelled future raises.
        group = [job for job in group if job.future.set_running_or_notify_cancel()]
        outcomes: list[Any] = []
        try:
            connection = self._connection = self._connection or self._engine.connect()
            let_commits_be_lost(connection, may_be_lost=all(job.may_be_lost for job in group))
            with connection.begin():
                self._undo(connection)
                for together, jobs in groupby(group, key=lambda job: job.together):
                    items = [job.item for job in jobs]
                    outcomes += _as_many(together(connection, items), items)
        except Exception as error:
            # The edge of the writer's task: every waiter must be failed, whatever the error is.
            _log.error("ledger_commit_failed", operations=len(group), error=str(getattr(error, "orig", None) or error))
            self._disconnect()
            is_sent = len(outcomes) == len(group)  # otherwise the database rolls back
            if is_sent:
                self._unacknowledged += [
                    (job.undo, outcome)
                    for job, outcome in zip(group, outcomes, strict=True)
                    if job.undo is not None and not isinstance(outcome, ServiceError)
                ]
            for job in group:
                job.future.set_exception(_translate(error, is_unknown=is_sent and job.undo is None))
            return
        self._unacknowledged.clear()
        self._resolve(group, outcomes)

    def _undo(self, connection: Connection) -> None:
        # This transaction has the write lock, so the failed one has ended: what is not in the database will never be.
        left: list[tuple[Undo[Any], Any]] = []
        for undo, pairs in groupby(self._unacknowledged, key=itemgetter(0)):
            left += [(undo, outcome) for outcome in undo(connection, [outcome for _, outcome in pairs])]
        self._unacknowledged = left

    def _resolve(self, group: Sequence[_Job], outcomes: Sequence[Any]) -> None:
        for job, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, ServiceError):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)

    def _disconnect(self) -> None:
        """Close the connection, after an error or at the end; the next commit opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):  # an error while a broken connection is closed must not end the writer
                connection.close()


def _each_by_itself(
    connection: Connection, operations: Sequence[Callable[[Connection], Any]]
) -> Sequence[Any | ServiceError]:
    outcomes: list[Any] = []
    for operation in operations:
        try:
            with connection.begin_nested():
                outcomes.append(operation(connection))
        except ServiceError as error:
            outcomes.append(error)
    return outcomes


def _as_many(outcomes: Sequence[Any], items: Sequence[Any]) -> Sequence[Any]:
    if len(outcomes) != len(items):
        raise ValueError(f"{len(items)} operations had {len(outcomes)} outcomes")
    return outcomes


def _translate(error: Exception, *, is_unknown: bool) -> Exception:
    if not isinstance(error, SQLAlchemyError):
        return error
    unavailable = LedgerUnavailable(
        "The ledger failed during the commit, so whether this was recorded is unknown. Try again soon, under the same "
        "Idempotency-Key if there is one."
        if is_unknown
        else "The ledger cannot be written, so nothing was admitted or charged. Try again soon."
    )
    unavailable.__cause__ = error
    return unavailable
