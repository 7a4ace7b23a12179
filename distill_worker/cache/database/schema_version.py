"""The version of the cache's tables: a cache of any release is brought up to date, and keeps all that was paid for."""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from distill_worker.cache.database import schema

_FIRST: Final = "0001"
HEAD: Final = "0004"
"""The version that this release reads and writes."""
_MIGRATIONS: Final = Path(__file__).with_name("migrations")


class CacheTooNew(Exception):
    """The cache was written by a later version of the worker."""


def is_current(connection: Connection) -> bool:
    """Whether the tables are those of this version."""
    return _version(connection) == HEAD


def migrate(connection: Connection) -> None:
    """Bring the tables up to date, inside the caller's transaction.

    Raises:
        CacheTooNew: a later version has changed them; nothing was written.
    """
    tables = inspect(connection).get_table_names()
    if not tables:
        schema.metadata.create_all(connection)
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})
        return
    version = _version(connection)
    if version == HEAD:
        return
    if version is not None and version > HEAD:
        raise CacheTooNew(
            f"expected a cache of version {HEAD} at most, got version {version}; use the worker that wrote it, or a "
            "later one"
        )
    # Imported only when there is something to migrate, as the import takes longer than a warm start may.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    if version is None and "streams" in tables:
        command.stamp(config, _FIRST)  # the first releases wrote no version
    command.upgrade(config, HEAD)


def _version(connection: Connection) -> str | None:
    has_version = "alembic_version" in inspect(connection).get_table_names()
    return connection.scalar(text("SELECT version_num FROM alembic_version")) if has_version else None
