"""What every test needs: one thread, the signals of a terminal, no teacher in the environment, and a database."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.endurance import ENDURANCE, rounds
from tests.postgresql import PostgresServer

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, by the processes that tests start too
# Under nohup or in the background of a script these are ignored, in the processes that tests start too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "tuition",
    max_examples=rounds(30, 100),
    deadline=None,  # nor does a slow machine fail a test by a health check
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    derandomize=not ENDURANCE,
)
settings.load_profile("tuition")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `make endurance` what measures speed."""
    if not ENDURANCE:
        for item in items:
            if item.get_closest_marker("alone"):
                item.add_marker(pytest.mark.skip(reason="it measures speed: make endurance"))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch  # only after OMP_NUM_THREADS is set

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_teacher_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TEACHER_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server, started when the first test asks for it."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | str]:
    """Where an empty ledger may be: a file, and then a database of a real server."""
    if request.param == "sqlite":
        yield tmp_path / "ledger.sqlite"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    with server.emptied_database() as url:
        yield url
