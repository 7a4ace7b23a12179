"""A small real teacher, and services that run it in processes of their own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from shared.networks import build_network
from shared.weights import WeightsCard, weights_bytes
from tests.end_to_end.processes import RunningService

StartService = Callable[..., RunningService]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained resnet8 for digits: as good as any where only the counting matters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = build_network("resnet8", num_classes=10, in_channels=1)
    card = WeightsCard(
        network="resnet8",
        num_classes=10,
        in_channels=1,
        image_size=(8, 8),
        mean=(0.3,),
        std=(0.4,),
        class_names=tuple("0123456789"),
    )
    path = tmp_path_factory.mktemp("weights") / "teacher.safetensors"
    path.write_bytes(weights_bytes(network, card))
    return path


_GATED = """
import os, time
from torch import nn

class Network(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 64, num_classes))

    def forward(self, images):
        while os.path.exists(os.environ["GATE"]):
            time.sleep(0.005)
        return self.last(images)
"""


@dataclass
class GatedService:
    """A service whose model stands still while the gate is shut."""

    service: RunningService
    _gate: Path

    def shut(self) -> None:
        """The next pass of the model does not end before `open`."""
        self._gate.touch()

    def open(self) -> None:
        """The model moves again."""
        self._gate.unlink()


@pytest.fixture
def gated(tmp_path: Path) -> Iterator[GatedService]:
    """A service that runs, its gate open."""
    (tmp_path / "gated.py").write_text(_GATED)
    network = f"{tmp_path / 'gated.py'}:Network"
    card = WeightsCard(
        network=network,
        num_classes=10,
        in_channels=1,
        image_size=(8, 8),
        mean=(0.3,),
        std=(0.4,),
        class_names=tuple("0123456789"),
    )
    weights = tmp_path / "gated.safetensors"
    weights.write_bytes(weights_bytes(build_network(network, num_classes=10, in_channels=1), card))
    environment = {"GATE": str(tmp_path / "gate"), "TEACHER_TRUST_CODE": "true"}
    service = RunningService(weights, tmp_path / "gated", environment)
    service.start()
    yield GatedService(service, tmp_path / "gate")
    service.kill()


@pytest.fixture
def start_service(weights: Path, tmp_path: Path) -> Iterator[StartService]:
    """Start a service; its keyword arguments are environment variables. All are killed at the end."""
    services: list[RunningService] = []

    def begin(**environment: str) -> RunningService:
        service = RunningService(weights, tmp_path / f"service-{len(services)}", environment)
        services.append(service)
        service.start()
        return service

    yield begin
    for service in services:
        service.kill()
