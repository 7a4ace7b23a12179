"""A look at the ledger, whose failures are told as the service tells them."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from shared.durable.engine import reading
from teacher_service.database.engine import snapshot
from teacher_service.errors.service_errors import LedgerUnavailable


@contextmanager
def looking(engine: Engine, *, standing_still: bool = False) -> Iterator[Connection]:
    """A connection for reading alone, which never waits for a writer.

    Args:
        engine: of the ledger.
        standing_still: whether several looks must see one and the same moment.

    Raises:
        LedgerUnavailable: the database cannot be read.
    """
    try:
        with (snapshot if standing_still else reading)(engine) as connection:
            yield connection
    except SQLAlchemyError as error:
        raise LedgerUnavailable("The ledger cannot be read, so nothing was admitted. Try again soon.") from error
