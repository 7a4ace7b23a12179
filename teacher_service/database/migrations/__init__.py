"""The ledger's tables, version by version (Alembic): a ledger of any release opens, and keeps all that was paid for."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

_FIRST = "0001"


class LedgerTooNew(Exception):
    """The ledger was written by a later version of the service."""


def migrate(connection: Connection) -> None:
    """Bring the tables up to date, inside the caller's transaction.

    Raises:
        LedgerTooNew: a later version has changed them; nothing was touched.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    found = MigrationContext.configure(connection).get_current_revision()
    if found == scripts.get_current_head():
        return
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise LedgerTooNew(
            f"the ledger has version {found}, and this service knows none beyond {scripts.get_current_head()}; "
            "start the service that wrote it, or a later one"
        )
    if found is None and inspect(connection).has_table("api_keys"):
        command.stamp(config, _FIRST)  # the first release wrote no version
    command.upgrade(config, "head")
