"""The version of the ledger's tables: a ledger of any release is brought up to date, and keeps all that was charged."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

_FIRST: Final = "0001"
HEAD: Final = "0005"
"""The version that this release reads and writes."""
_MIGRATIONS: Final = Path(__file__).with_name("migrations")


class LedgerTooNew(Exception):
    """The ledger was written by a later version of the service."""


def migrate(connection: Connection) -> None:
    """Bring the tables up to date, inside the caller's transaction.

    Raises:
        LedgerTooNew: a later version has changed them; nothing was written.
    """
    tables = inspect(connection).get_table_names()
    version = _version(connection, tables)
    if version == HEAD:
        return
    if version is not None and version > HEAD:
        raise LedgerTooNew(
            f"expected a ledger of version {HEAD} at most, got version {version}; start the service that wrote it, or "
            "a later one"
        )
    # Imported only when there is something to migrate, as the import takes longer than a warm start may.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    if version is None and "api_keys" in tables:
        command.stamp(config, _FIRST)  # the first release wrote no version
    command.upgrade(config, HEAD)


def _version(connection: Connection, tables: Collection[str]) -> str | None:
    return connection.scalar(text("SELECT version_num FROM alembic_version")) if "alembic_version" in tables else None
