"""One writer thread that lets concurrent operations share a commit.

A durable commit waits for the disk; a hundred operations that wait together wait no longer than one. Each operation
runs in a savepoint of its own, so a refused one leaves no trace and does not disturb its neighbours.

Invariant: a future resolves only after the commit that holds its operation is on disk, or fails when it is not.
"""

from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from teacher_service.errors import LedgerUnavailable, ServiceError

Outcome = TypeVar("Outcome")
_Job = tuple[Callable[[Connection], Any], "Future[Any]"]

_log = structlog.get_logger(__name__)


class GroupCommit:
    """Runs operations on one connection at a time, as many to a commit as have gathered."""

    def __init__(self, engine: Engine, *, max_group: int = 256) -> None:
        self._engine = engine
        self._max_group = max_group
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def submit(self, operation: Callable[[Connection], Outcome]) -> "Future[Outcome]":
        """Run `operation` in a shared transaction.

        The future carries its result, the `ServiceError` that it raised, or `LedgerUnavailable` when the database
        could not do or keep the work. An operation may run inside a commit that fails: it must not act elsewhere.
        """
        future: Future[Outcome] = Future()
        self._jobs.put((operation, future))
        return future

    def close(self) -> None:
        """Finish what was submitted, then stop. Nothing may be submitted afterwards."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
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
                return

    def _commit(self, group: list[_Job]) -> None:
        # A caller may have given up; from here on it cannot, or resolving its future would end this thread.
        group = [job for job in group if job[1].set_running_or_notify_cancel()]
        outcomes: list[tuple[Any, ServiceError | None]] = []
        try:
            with self._engine.begin() as connection:
                for operation, _ in group:
                    try:
                        with connection.begin_nested():
                            outcomes.append((operation(connection), None))
                    except ServiceError as refusal:
                        outcomes.append((None, refusal))
        except Exception as error:
            # The edge of the writer's task: whatever went wrong, every waiter has to hear of it.
            _log.error("ledger_commit_failed", operations=len(group), error=str(getattr(error, "orig", None) or error))
            for _, future in group:
                future.set_exception(_translate(error))
            return
        for (_, future), (result, refused) in zip(group, outcomes, strict=True):
            if refused is None:
                future.set_result(result)
            else:
                future.set_exception(refused)


def _translate(error: Exception) -> Exception:
    if not isinstance(error, SQLAlchemyError):
        return error
    unavailable = LedgerUnavailable("The ledger cannot be written, so nothing was admitted or charged. Try again soon.")
    unavailable.__cause__ = error
    return unavailable
