"""The database of a cache: a SQLite file, or a PostgreSQL database that several machines share.

Blocks are numbered in the order in which they are committed, as one transaction writes at a time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from distill_worker.cache.database.schema_version import CacheTooNew
from distill_worker.errors import CacheError
from shared.durable import engine as durable
from shared.durable import process_lock
from shared.durable.process_lock import ProcessLock

_LOCK_FOLDER_SUFFIX: Final = ".buyers"

_OPTIONS = durable.EngineOptions(busy_seconds=30, writer_lock=(0x7475, 2))

WHAT_TO_DO_WITH_A_FILE: Final = (
    "If the file is damaged, restore a copy or move it aside; do not delete it, for what is in it was paid for"
)
_WHAT_TO_DO_WITH_A_SERVER: Final = "Is the server running, and is the URL right?"


def open_engine(place: Path | str) -> Engine:
    """An engine on a SQLite file, or on a database by a URL that passed `shown`. It does not connect yet."""
    return durable.open_engine(place, _OPTIONS)


def open_process_lock(engine: Engine) -> ProcessLock:
    """The lock of this process among those that buy into the same cache: its lease on its purchases.

    Invariant: one living process owns a purchase. If a lease is lost though its holder lives (its connection broke),
    the same purchase is repeated under its one Idempotency-Key.
    """
    return process_lock.open_process_lock(engine, _LOCK_FOLDER_SUFFIX)


def is_buyer_alive(engine: Engine, buyer_id: str | None) -> bool:
    """Whether the process with this id still holds its lease. False for None: the purchase has no buyer."""
    return buyer_id is not None and process_lock.is_process_alive(engine, _LOCK_FOLDER_SUFFIX, buyer_id)


def shown(place: Path | str) -> str:
    """The place of a cache, without the password that a URL may hold.

    Raises:
        CacheError: it is a URL of another kind, or none.
    """
    if isinstance(place, Path):
        return str(place)
    try:
        url = make_url(place)
    except (ArgumentError, ValueError) as error:
        raise CacheError(
            f"cache: expected a file or postgresql://user@host:port/database, got no URL ({error})"
        ) from error
    if url.get_backend_name() != "postgresql":
        raise CacheError(f"cache: expected a file or postgresql://..., got {url.drivername}://...")
    return url.render_as_string(hide_password=True)


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Translate every error of the database into a `CacheError` that names the cache and what to do next."""
    try:
        yield
    except CacheTooNew as error:
        raise CacheError(f"{place}: {error}") from error
    except (SQLAlchemyError, OSError, UnicodeError) as error:
        reason = getattr(error, "orig", None) or error
        advice = _WHAT_TO_DO_WITH_A_SERVER if "://" in place else WHAT_TO_DO_WITH_A_FILE
        raise CacheError(
            f"{place}: the cache of bought outputs cannot be used ({str(reason).strip()}). {advice}"
        ) from error
