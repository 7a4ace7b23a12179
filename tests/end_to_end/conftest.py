"""A small real teacher, and services that run it in processes of their own."""

from collections.abc import Callable, Iterator
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
