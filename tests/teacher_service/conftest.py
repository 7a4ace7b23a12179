"""What the service's tests are given."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from shared.networks import build_network
from shared.weights import WeightsCard, weights_bytes
from tests.teacher_service.ledger_file import Books, open_books
from tests.teacher_service.running_service import ServiceUnderTest, start_service


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    """An empty ledger."""
    with open_books(tmp_path / "ledger.sqlite") as opened:
        yield opened


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file: resnet8, four classes, 8x8 colour images."""
    card = WeightsCard(
        network="resnet8",
        num_classes=4,
        in_channels=3,
        image_size=(8, 8),
        mean=(0.5, 0.4, 0.3),
        std=(0.25, 0.2, 0.3),
        class_names=("a", "b", "c", "d"),
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = build_network(card.network, num_classes=4, in_channels=3)
    path = tmp_path_factory.mktemp("weights") / "teacher.safetensors"
    path.write_bytes(weights_bytes(network, card))
    return path


@pytest.fixture
def service(weights: Path, tmp_path: Path) -> Iterator[ServiceUnderTest]:
    """The application on an empty ledger."""
    with start_service(weights, tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def patient_service(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceUnderTest]:
    """One application for a whole file of requests that must leave it as they found it."""
    with start_service(weights, tmp_path_factory.mktemp("patient")) as started:
        yield started
