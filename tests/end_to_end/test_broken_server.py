"""A PostgreSQL ledger that cannot be written while the service runs: nothing is admitted, and it recovers by itself."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import psycopg
import pytest
from sqlalchemy import make_url

from tests.end_to_end.asking import ask, outcome, wait_until
from tests.end_to_end.broken_ledgers import assert_nothing_is_admitted, assert_recovered
from tests.end_to_end.conftest import StartService
from tests.postgresql import PostgresServer
from tests.teacher_service.ledger_file import rows

OWNER = "ledger_owner"
Breakage = Callable[[PostgresServer, str], AbstractContextManager[object]]


@contextmanager
def _stopped(server: PostgresServer, _url: str) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def _read_only(server: PostgresServer, _url: str) -> Iterator[None]:
    """As after a failover to a standby: also to sessions that are open."""
    server.say("ALTER SYSTEM SET default_transaction_read_only = on")
    server.say("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        server.say("ALTER SYSTEM RESET default_transaction_read_only")
        server.say("SELECT pg_reload_conf()")


@contextmanager
def _locked(_server: PostgresServer, url: str) -> Iterator[None]:
    """Somebody writes, and does not end."""
    with psycopg.connect(url) as session:
        session.execute("SELECT pg_advisory_lock(29813, 1)")
        yield


@contextmanager
def _no_connections(server: PostgresServer, url: str) -> Iterator[None]:
    """Those that there are end, and there are too many for another."""
    server.say(f"ALTER ROLE {OWNER} CONNECTION LIMIT 0")
    _end_sessions(server, url)
    try:
        yield
    finally:
        server.say(f"ALTER ROLE {OWNER} CONNECTION LIMIT -1")


@contextmanager
def _full(_server: PostgresServer, url: str) -> Iterator[None]:
    """Whatever adds a row or changes one is told what a full disk tells it, SQLSTATE 53100."""
    tables = ("queries", "answers", "chain_head", "api_keys")
    rows(
        url,
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RAISE EXCEPTION USING ERRCODE = ''53100'', MESSAGE = ''could not extend file''; END'",
    )
    for table in tables:
        rows(url, f"CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION full_disk()")
    try:
        yield
    finally:
        rows(url, "DROP FUNCTION full_disk CASCADE")


BREAKAGES: Final[dict[str, Breakage]] = {
    "stopped": _stopped,
    "read-only": _read_only,
    "locked": _locked,
    "no connections": _no_connections,
    "full": _full,
}


def _end_sessions(server: PostgresServer, url: str) -> None:
    """Of everybody who is connected to this database."""
    name = make_url(url).database
    server.say(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that nobody else needs, with a user who is not its administrator."""
    server = PostgresServer()
    server.say(f"CREATE ROLE {OWNER} LOGIN")
    yield server
    server.close()


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    """A database of that user."""
    with server.database() as made:
        server.say(f"ALTER DATABASE {make_url(made).database} OWNER TO {OWNER}")
        yield make_url(made).set(username=OWNER).render_as_string(hide_password=False)


@pytest.mark.parametrize("kind", BREAKAGES)
def test_nothing_is_admitted_while_the_ledger_is_broken_and_all_is_well_afterwards(
    start_service: StartService, server: PostgresServer, url: str, kind: str
) -> None:
    service = start_service(database=url)
    key = service.new_key("patient", 10)
    assert outcome(ask(service, key.token, 2, "before")) == "answered"
    with BREAKAGES[kind](server, url):
        assert_nothing_is_admitted(service, key)
    assert_recovered(service, key)


@pytest.mark.parametrize("kind", BREAKAGES)
def test_ledger_that_breaks_while_the_model_runs_charges_nothing_that_is_not_answered(
    start_service: StartService, server: PostgresServer, url: str, tmp_path: Path, kind: str
) -> None:
    """The hold is given back once it can be, and the same Idempotency-Key is answered then."""
    gate = tmp_path / "gate"
    service = start_service(database=url, GATE=str(gate))
    key = service.new_key("patient", 2)
    gate.touch()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, service, key.token, 2, "once")
        wait_until(lambda: bool(service.quota(key.token)["reserved"] == 2))
        with BREAKAGES[kind](server, url):
            gate.unlink()
            refused = asked.result()
            assert (refused.status_code, outcome(refused)) == (503, "ledger-unavailable")
    wait_until(lambda: service.is_ready() and not service.quota(key.token)["reserved"])
    assert service.quota(key.token)["used"] == 0
    assert outcome(ask(service, key.token, 2, "once")) == "answered"
    assert service.quota(key.token)["used"] == 2


def test_sessions_that_are_ended_cost_a_retry_and_nothing_else(
    start_service: StartService, server: PostgresServer, url: str
) -> None:
    """Again and again, each time between two requests: a refusal at most, then an answer, charged once."""
    service = start_service(database=url)
    key = service.new_key("patient", 100)
    for number in range(5):
        _end_sessions(server, url)
        name = f"i-{number}"
        found = [outcome(ask(service, key.token, 2, name))]
        while found[-1] == "ledger-unavailable" and len(found) < 4:
            found.append(outcome(ask(service, key.token, 2, name)))
        assert found[-1] == "answered"
        quota = service.quota(key.token)
        assert (quota["used"], quota["reserved"], quota["in_flight"]) == (2 * number + 2, 0, 0)
