"""The version of the ledger's tables: a ledger of any release is brought up to date, and keeps all that was charged."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

_FIRST: Final = "0001"
_MIGRATIONS: Final = Path(__file__).with_name("migrations")


class LedgerTooNew(Exception):
    """The ledger was written by a later version of the service."""


def migrate(connection: Connection) -> None:
    """Bring the tables up to date, inside the caller's transaction.

    Raises:
        LedgerTooNew: a later version has changed them; nothing was written.
    """
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    version = MigrationContext.configure(connection).get_current_revision()
    if version == scripts.get_current_head():
        return
    if version is not None and version not in {script.revision for script in scripts.walk_revisions()}:
        raise LedgerTooNew(
            f"expected a ledger of version {scripts.get_current_head()} at most, got version {version}; "
            "start the service that wrote it, or a later one"
        )
    if version is None and inspect(connection).has_table("api_keys"):
        command.stamp(config, _FIRST)  # the first release wrote no version
    command.upgrade(config, "head")
