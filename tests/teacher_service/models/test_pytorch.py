"""The model itself: what it offers, what it is trusted to run, and what it refuses to start with."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.degradation import Degradation
from shared.networks import build_network
from shared.normalise import normalise
from shared.weights import WeightsCard, WeightsError, load_weights, weights_bytes
from teacher_service.models import TorchTeacher
from teacher_service.settings import Settings
from tests.teacher_service.running_service import images

FACTORY = """
from torch import nn

class Network(nn.Module):
    taps = {"hidden": "first"}

    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.flat, self.first = nn.Flatten(), nn.Linear(in_channels * 64, 5)
        self.last = nn.Linear(5, num_classes)

    def forward(self, images):
        return self.last(self.first(self.flat(images)))
"""


@dataclass(frozen=True)
class _Own:
    """A network from a file of the user's own, and its weights for 8x8 images."""

    network: str
    folder: Path

    def weights(self, image_size: tuple[int, int] = (8, 8)) -> Path:
        card = WeightsCard(
            network=self.network,
            num_classes=4,
            in_channels=3,
            image_size=image_size,
            mean=(0.5, 0.5, 0.5),
            std=(0.2, 0.2, 0.2),
            class_names=("a", "b", "c", "d"),
        )
        path = self.folder / "own.safetensors"
        path.write_bytes(weights_bytes(build_network(self.network, num_classes=4, in_channels=3), card))
        return path


@pytest.fixture
def own(tmp_path: Path) -> _Own:
    (tmp_path / "network.py").write_text(FACTORY)
    return _Own(f"{tmp_path / 'network.py'}:Network", tmp_path)


def test_code_of_others_runs_only_when_trusted(own: _Own) -> None:
    with pytest.raises(WeightsError, match="--trust-code"):
        TorchTeacher(own.weights(), "cpu")
    assert TorchTeacher(own.weights(), "cpu", trust_code=True).outputs == {"logits": (4,), "features.hidden": (5,)}


def test_trust_is_off_until_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().trust_code is False
    monkeypatch.setenv("TEACHER_TRUST_CODE", "true")
    assert Settings().trust_code is True


def test_network_that_cannot_see_the_images_is_refused_at_the_start(own: _Own) -> None:
    """Else every request would be admitted and fail."""
    with pytest.raises(ValueError, match=r"to take images of shape \[3, 9, 8\]"):
        TorchTeacher(own.weights((9, 8)), "cpu", trust_code=True)


def test_outputs_are_unpacked_as_they_were_packed(weights: Path) -> None:
    """Each alone gives what it gives among others, in whatever order."""
    teacher, pixels = TorchTeacher(weights, "cpu"), images(3)
    names = ("features.stage3", "logits", "features.pooled", "features.stage1")
    together = teacher.unpack(teacher.predict(pixels, names), names)
    assert tuple(together) == names
    for name in names:
        alone = teacher.predict(pixels, (name,))
        assert together[name].shape == (3, *teacher.outputs[name])
        np.testing.assert_array_equal(together[name].reshape(3, -1), alone)


def test_degraded_teacher_spoils_its_logits_and_not_its_features(weights: Path, tmp_path: Path) -> None:
    card, network, _ = load_weights(weights)
    worse = card.model_copy(update={"degradation": Degradation(decimals=0)})
    path = tmp_path / "worse.safetensors"
    path.write_bytes(weights_bytes(network, worse))
    names, pixels = ("logits", "features.pooled"), images(3)
    true, spoilt = (
        teacher.unpack(teacher.predict(pixels, names), names)
        for teacher in (TorchTeacher(weights, "cpu"), TorchTeacher(path, "cpu"))
    )
    np.testing.assert_array_equal(spoilt["logits"], np.round(true["logits"]))
    np.testing.assert_array_equal(spoilt["features.pooled"], true["features.pooled"])


def test_network_sees_images_in_the_size_that_its_card_names(weights: Path, tmp_path: Path) -> None:
    """Callers send 8x8; what is answered is the network's for the same images at 16x12."""
    card, network, fingerprint = load_weights(weights)
    path = tmp_path / "resized.safetensors"
    path.write_bytes(weights_bytes(network, card.model_copy(update={"resize": (16, 12)})))
    teacher, pixels = TorchTeacher(path, "cpu"), images(3)
    seen = normalise(torch.from_numpy(pixels), card.mean, card.std, size=(16, 12))
    with torch.inference_mode():
        np.testing.assert_array_equal(teacher.predict(pixels), network(seen).numpy())
    assert teacher.image_shape == (3, 8, 8)
    assert teacher.outputs["features.stage1"][1:] == (16, 12)
    assert teacher.fingerprint != fingerprint


def test_other_precision_is_another_teacher(weights: Path) -> None:
    exact, rounded = TorchTeacher(weights, "cpu"), TorchTeacher(weights, "cpu", precision="bfloat16")
    assert exact.fingerprint != rounded.fingerprint
    difference = np.abs(exact.predict(images(4)) - rounded.predict(images(4))).max()
    assert 0 < difference < 0.5
