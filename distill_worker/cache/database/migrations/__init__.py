"""The cache's tables, version by version (Alembic): a cache of any release opens, and keeps all that was paid for."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from distill_worker.cache.database import schema

_FIRST = "0001"
HEAD = "0002"
"""The version that this release reads and writes."""


class CacheTooNew(Exception):
    """The cache was written by a later version of the worker."""


def migrate(connection: Connection) -> None:
    """Bring the tables up to date, inside the caller's transaction.

    Raises:
        CacheTooNew: a later version has changed them; nothing was touched.
    """
    tables = inspect(connection).get_table_names()
    if not tables:
        schema.metadata.create_all(connection)
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})
        return
    found = connection.scalar(text("SELECT version_num FROM alembic_version")) if "alembic_version" in tables else None
    if found == HEAD:
        return
    if found is not None and found > HEAD:
        raise CacheTooNew(f"the cache has version {found}, and this worker knows none beyond {HEAD}; use a later one")
    # Loaded only where there is something to move, for it takes longer than a warm start may.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    if found is None and "streams" in tables:
        command.stamp(config, _FIRST)  # the first releases wrote no version
    command.upgrade(config, HEAD)
