"""A small real teacher, and services that run it in processes of their own."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from shared.networks import build_network
from shared.weights import weights_bytes
from tests.end_to_end.asking import wait_until
from tests.end_to_end.clocked_service import FileClock
from tests.end_to_end.processes import RunningService
from tests.postgresql import PostgresServer
from tests.small_teacher import small_card

StartService = Callable[..., RunningService]


_SLOW = """
import os, time
from shared.networks import build_network

def network(num_classes, in_channels):
    made = build_network("resnet8", num_classes=num_classes, in_channels=in_channels)
    made.register_forward_pre_hook(wait)
    return made

def wait(*_):
    time.sleep(float(os.environ.get("SECONDS_A_PASS", "0")))
    gate = os.environ.get("GATE", "")
    while os.path.exists(gate):
        open(gate + ".reached", "w").close()
        time.sleep(0.005)
"""


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained resnet8 for digits: as good as any where only the counting matters."""
    return _write_weights(tmp_path_factory.mktemp("weights") / "teacher.safetensors", "resnet8")


@pytest.fixture(scope="session")
def slow_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network, which takes SECONDS_A_PASS longer, and stands still while the file GATE is there."""
    folder = tmp_path_factory.mktemp("slow")
    (folder / "slow.py").write_text(_SLOW)
    return _write_weights(folder / "teacher.safetensors", f"{folder / 'slow.py'}:network")


def _write_weights(path: Path, name: str) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = build_network(name, num_classes=10, in_channels=1)
    path.write_bytes(weights_bytes(network, small_card(network=name, mean=(0.3,), std=(0.4,))))
    return path


@dataclass
class GatedService:
    """A service whose model stands still while the gate is shut."""

    service: RunningService
    _gate: Path

    def shut(self) -> None:
        """The next pass of the model does not end before `open`."""
        self._gate.touch()

    def wait_until_reached(self) -> None:
        """Wait until the model stands before the gate: it has the images of some request."""
        wait_until(self._gate.with_name(f"{self._gate.name}.reached").exists)

    def open(self) -> None:
        """The model moves again."""
        self._gate.unlink()


@pytest.fixture
def start_service(weights: Path, slow_weights: Path, tmp_path: Path) -> Iterator[StartService]:
    """Start a service; its keyword arguments are environment variables. All are killed at the end."""
    services: list[RunningService] = []

    def begin(
        *, database: Path | str | None = None, module: str = "teacher_service", **environment: str
    ) -> RunningService:
        slow = environment.keys() & {"SECONDS_A_PASS", "GATE"}
        trusting = {"TEACHER_TRUST_CODE": "true"} if slow else {}
        folder = tmp_path / f"service-{len(services)}"
        chosen = slow_weights if slow else weights
        service = RunningService(chosen, folder, environment | trusting, database, module)
        services.append(service)
        service.start()
        return service

    yield begin
    for service in services:
        service.kill()


@pytest.fixture(scope="module")
def one_service(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with default settings for all tests of a module, each of which makes keys of its own."""
    service = RunningService(weights, tmp_path_factory.mktemp("one-service"))
    service.start()
    yield service
    service.kill()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def two_services(
    request: pytest.FixtureRequest, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[RunningService]]:
    """Two services on one ledger, of each kind, for all tests of a module, each of which makes keys of its own.

    Their clock, in the file CLOCK of their environment, stands still unless a test moves it.
    """
    folder = tmp_path_factory.mktemp("two-services")
    with ExitStack() as stack:
        place: Path | str = folder / "ledger.sqlite"
        if request.param == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres_server")
            place = stack.enter_context(server.emptied_database())
        clock = FileClock(folder / "clock")
        clock.set(time.time())
        services = [
            RunningService(
                weights, folder / name, {"CLOCK": str(clock.path)}, place, module="tests.end_to_end.clocked_service"
            )
            for name in ("first", "second")
        ]
        for service in services:
            stack.callback(service.kill)
            service.start()
        yield services


@pytest.fixture
def gated(start_service: StartService, tmp_path: Path, ledger_place: Path | str) -> GatedService:
    """A service that runs, its gate open; on a ledger of each kind."""
    gate = tmp_path / "gate"
    return GatedService(start_service(database=ledger_place, GATE=str(gate)), gate)
