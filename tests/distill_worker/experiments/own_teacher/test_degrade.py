"""A worse teacher in a file of its own, as the command makes it."""

from pathlib import Path

import pytest
import torch
from torch import nn

from distill_worker.errors import ConfigError, WorkerError
from distill_worker.experiments.own_teacher.degrade import degrade_weights
from distill_worker.training.evaluate import count_correct
from shared.degradation import Degradation
from shared.weights import load_weights
from teacher_service.models import TorchTeacher
from tests.small_teacher import small_teacher


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A teacher of three classes."""
    return small_teacher(tmp_path / "good.safetensors", 3, provenance={"data": "digits"})


def test_pruned_weights_are_written_and_said(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "pruned.safetensors"
    told = degrade_weights(source, target, prune=0.5)
    card, network, fingerprint = load_weights(target)
    _, _, origin = load_weights(source)
    weights = torch.cat([values.flatten() for values in network.state_dict().values() if values.ndim >= 2])
    assert float((weights == 0).double().mean()) == pytest.approx(0.5, abs=1e-4)
    assert told == fingerprint != origin
    assert card.provenance == {"data": "digits", "degraded_from": origin, "pruned": 0.5}


def test_service_answers_with_the_degraded_logits(source: Path, tmp_path: Path) -> None:
    """Rounded to one decimal, and noisy by the images' own noise, asked together or alone."""
    target = tmp_path / "worse.safetensors"
    degrade_weights(source, target, degradation=Degradation(noise=1.0, decimals=1))
    good, worse = TorchTeacher(source, "cpu"), TorchTeacher(target, "cpu")
    images = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8).numpy()
    answered = worse.predict(images)
    assert abs(answered - answered.round(1)).max() < 1e-6
    assert abs(answered - good.predict(images)).max() > 0.3
    assert worse.predict(images[2:3]).tobytes() == answered[2:3].tobytes()


def test_evaluation_sees_what_the_service_would_say() -> None:
    """A network that knows the answer by a margin of 1 forgets it under noise, not under rounding to whole numbers."""

    class Knows(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return nn.functional.one_hot((images.flatten(1)[:, 0] > 0).long(), 2).float()

    images = torch.randint(0, 2, (200, 1, 2, 2), dtype=torch.uint8) * 255
    images[:, 0, 1] = torch.randint(0, 256, (200, 2), dtype=torch.uint8)
    labels = (images.flatten(1)[:, 0] > 0).long()
    counts = [
        count_correct(Knows(), images, labels, mean=(0.5,), std=(0.5,), degradation=worse)
        for worse in (None, Degradation(decimals=0), Degradation(noise=50.0))
    ]
    assert counts[:2] == [200, 200]
    assert counts[2] < 150


def test_nothing_worse_an_existing_target_and_no_source_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--prune, --noise or --decimals"):
        degrade_weights(source, tmp_path / "x")
    with pytest.raises(ConfigError, match="expected a new file"):
        degrade_weights(source, source, prune=0.5)
    with pytest.raises(WorkerError, match="no such weights file"):
        degrade_weights(tmp_path / "absent", tmp_path / "x", prune=0.5)
