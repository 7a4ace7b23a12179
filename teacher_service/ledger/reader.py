"""Read-only connections to the ledger, whose failures are raised as errors of the service."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from shared.durable.engine import reading
from teacher_service.database.engine import snapshot as open_snapshot
from teacher_service.errors.service_errors import LedgerUnavailable


@contextmanager
def read_connection(engine: Engine, *, snapshot: bool = False) -> Iterator[Connection]:
    """A read-only connection, which never waits for a writer.

    Args:
        engine: of the ledger.
        snapshot: whether all statements must see the same state of the ledger.

    Raises:
        LedgerUnavailable: the database cannot be read.
    """
    try:
        with (open_snapshot if snapshot else reading)(engine) as connection:
            yield connection
    except SQLAlchemyError as error:
        raise LedgerUnavailable("The ledger cannot be read, so nothing was admitted. Try again soon.") from error
