"""The teacher service with its model on a device, and the count of correct answers there."""

from pathlib import Path

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient
from torch import nn

from distill_worker.training.evaluate import count_correct
from shared import oip
from shared.networks import build_network
from shared.weights import WeightsCard, weights_bytes
from teacher_service.app import create_app
from teacher_service.keys.store import KeyStore
from teacher_service.models import TorchTeacher, open_teacher
from teacher_service.settings import Settings
from tests.teacher_service.running_service import INFER, images


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A weights file of a small network for colour images."""
    card = WeightsCard(
        network="resnet8",
        num_classes=4,
        in_channels=3,
        image_size=(8, 8),
        mean=(0.5, 0.4, 0.3),
        std=(0.25, 0.2, 0.3),
        class_names=("a", "b", "c", "d"),
    )
    path = tmp_path / "teacher.safetensors"
    path.write_bytes(weights_bytes(build_network("resnet8", num_classes=4, in_channels=3), card))
    return path


def test_service_answers_from_the_device_and_charges_as_ever(
    weights: Path, tmp_path: Path, device: torch.device
) -> None:
    pixels = images(5)
    expected = TorchTeacher(weights, "cpu").predict(pixels)
    settings = Settings(weights=weights, data_dir=tmp_path, device=device.type, batch_timeout_seconds=0)
    app = create_app(settings, open_teacher(settings))
    with TestClient(app) as http:
        keys: KeyStore = app.state.service.keys
        authorization = {"Authorization": f"Bearer {keys.create('tester', 10).token}"}
        body = oip.encode_request({"images": pixels}, outputs=["logits"])
        answer = http.post(INFER, content=body.content, headers={**body.headers, **authorization})
        assert answer.status_code == 200
        _, outputs = oip.decode_response(answer.content, answer.headers.get(oip.HEADER_LENGTH))
        np.testing.assert_allclose(outputs["logits"], expected, rtol=1e-2, atol=1e-2)
        assert http.get("/v1/quota", headers=authorization).json()["used"] == 5


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_model_gives_on_the_device_what_it_gives_on_the_cpu(
    weights: Path, precision: str, device: torch.device
) -> None:
    teacher = TorchTeacher(weights, device.type, precision=precision)  # type: ignore[arg-type]
    tolerance = 1e-2 if precision == "float32" else 0.1
    pixels = images(300)
    np.testing.assert_allclose(
        teacher.predict(pixels), TorchTeacher(weights, "cpu").predict(pixels), rtol=tolerance, atol=tolerance
    )


def test_count_of_correct_images_is_that_of_the_cpu(device: torch.device) -> None:
    """9,000 images are several batches on the CPU; one pixel decides, so there are no ties."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (9000, 1, 2, 2), dtype=torch.uint8, generator=generator)
    labels = torch.where(torch.arange(9000) % 3 == 0, 1 - (pixels[:, 0, 0, 0] > 127).long(), pixels[:, 0, 0, 0] > 127)
    first_pixel = nn.Linear(4, 2)
    with torch.no_grad():
        first_pixel.weight.copy_(torch.tensor([[0.0, 0, 0, 0], [10, 0, 0, 0]]))
        first_pixel.bias.zero_()
    network = nn.Sequential(nn.Flatten(), first_pixel)
    counted = count_correct(network.to(device), pixels.to(device), labels.to(device), mean=(0.5,), std=(0.5,))
    assert counted == 6000
