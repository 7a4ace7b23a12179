"""Every method trains for real: finite, above chance, to the same bits again, and to the same bits after a SIGKILL."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.data.datasets import load_dataset
from distill_worker.data.datasets.dataset import Split
from distill_worker.methods import METHODS
from distill_worker.methods.base import LOGITS
from distill_worker.methods.representation import FEATURES
from distill_worker.runs.sampling.samples import Samples, preprocessing
from distill_worker.runs.train_student import train_student
from distill_worker.training.loop import Progress
from shared.networks.taps import forward_with_features
from shared.weights import load_weights
from tests.end_to_end.processes import call
from tests.endurance import ENDURANCE

STEPS, KILLED_AFTER = 40, 23
LEAST_ACCURACY = 0.2
"""Both data sets have ten classes: chance is 0.1, and its standard deviation over 500 samples 0.013."""

VARIANTS: dict[str, dict[str, Any]] = {
    name: {"method": {"name": name}} for name in METHODS if name not in ("pseudo-label", "crd")
} | {
    "crd": {"method": {"name": "crd", "negatives": 128}},
    "ckd, k = 3": {"method": {"name": "ckd", "k": 3}},
    "ckd, k = 4, drawn": {"method": {"name": "ckd", "k": 4, "pairing": "drawn", "comparisons": 64}},
    "ckd, memory": {"method": {"name": "ckd", "pairing": "memory"}},
    "ckd, k = 3, memory": {"method": {"name": "ckd", "k": 3, "pairing": "memory"}},
    "ckd, anchors": {"method": {"name": "ckd", "pairing": "anchors"}},
    "ckd, k = 4, anchors": {"method": {"name": "ckd", "k": 4, "pairing": "anchors"}},
    "ckd, addition": {"method": {"name": "ckd", "comparison": "addition"}},
    "ckd, interpolation": {"method": {"name": "ckd", "comparison": "interpolation"}},
    "ckd, interpolation, drawn": {"method": {"name": "ckd", "comparison": "interpolation", "pairing": "drawn"}},
    "ckd, concatenation": {"method": {"name": "ckd", "comparison": "concatenation"}},
    "ckd, squared error": {"method": {"name": "ckd", "divergence": "mse"}},
    "ckd, k = 3, memory, squared error": {"method": {"name": "ckd", "divergence": "mse", "k": 3, "pairing": "memory"}},
    "ckd, comparative labels": {"method": {"name": "ckd", "label_term": "comparative"}},
    "ckd on log-probabilities": {"method": {"name": "ckd", "on": "log_probabilities"}},
    "ckd on features": {"method": {"name": "ckd", "on": "features"}},
    "rkd on features": {"method": {"name": "rkd", "on": "features"}},
    "ckd + kd": {"method": {"name": "ckd"}, "plus": [{"name": "kd"}]},
    "dist + ckd": {"method": {"name": "dist"}, "plus": [{"name": "ckd"}]},
    "fitnet + ckd": {"method": {"name": "fitnet"}, "plus": [{"name": "ckd"}]},
    "vid + ckd": {"method": {"name": "vid"}, "plus": [{"name": "ckd"}]},
    "at + ckd": {"method": {"name": "at"}, "plus": [{"name": "ckd"}]},
    "cc on features + ckd": {"method": {"name": "cc", "on": "features"}, "plus": [{"name": "ckd"}]},
    "mixup + ckd": {"method": {"name": "mixup"}, "plus": [{"name": "ckd"}]},
    "mixup, requeried": {"method": {"name": "mixup", "targets": "requeried", "mixtures": 30}},
    "cutmix, requeried": {"method": {"name": "cutmix", "targets": "requeried", "mixtures": 30}},
    "kd, strong augmentation": {"method": {"name": "kd"}, "augmentation": {"policy": "strong"}},
    "kd, labelled pool": {"method": {"name": "kd"}, "track": "labelled-pool"},
    "kd + pseudo-label": {
        "method": {"name": "kd"},
        "plus": [{"name": "pseudo-label", "threshold": 0.5}],
        "track": "unlabelled-pool",
    },
    "kd + pseudo-label, strong view": {
        "method": {"name": "kd"},
        "plus": [{"name": "pseudo-label", "threshold": 0.5, "strong_view": True}],
        "track": "unlabelled-pool",
    },
}

DATA = {"digits": {"n": 100, "teacher_steps": 80}}
if ENDURANCE:
    DATA |= {"fashion-mnist": {"n": 500, "teacher_steps": 60}}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("data", DATA)
def test_method_learns_and_repeats_whatever_happens(data: str, variant: str, teachers: Path, tmp_path: Path) -> None:
    weights = _teacher(data, teachers)
    result = _train(data, variant, weights, tmp_path / "first")
    losses = [json.loads(line)["loss"] for line in (tmp_path / "first" / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == STEPS
    assert torch.tensor(losses).isfinite().all()
    assert result["accuracy"] > LEAST_ACCURACY

    if ENDURANCE:
        _train(data, variant, weights, tmp_path / "again")
        assert _left_in(tmp_path / "again") == _left_in(tmp_path / "first"), "the same seed gives the same bits"
        killed = call(_train_until_killed, data, variant, weights, tmp_path / "broken-off")
        assert killed.exitcode == -signal.SIGKILL
    else:  # what it leaves is what a killed process leaves, for which test_train_student.py kills one
        with pytest.raises(_BrokenOffError):
            _train(data, variant, weights, tmp_path / "broken-off", _break_off)

    assert (tmp_path / "broken-off" / "checkpoint.pt").exists()
    _train(data, variant, weights, tmp_path / "broken-off")
    assert _left_in(tmp_path / "broken-off") == _left_in(tmp_path / "first"), "a broken run goes on to the same bits"


class _BrokenOffError(Exception):
    """A training ends in the middle."""


def _break_off(step: int, _loss: float) -> None:
    if step == KILLED_AFTER:
        raise _BrokenOffError


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the teachers of this module are trained, each when it is first needed."""
    yield tmp_path_factory.mktemp("teachers")
    _teacher.cache_clear()


@lru_cache
def _teacher(data: str, folder: Path) -> Path:
    if data == "fashion-mnist" and not Path("/usr/share/datasets/fashion-mnist").is_dir():
        pytest.skip("Fashion-MNIST is not here: install Debian's package dataset-fashion-mnist")
    config = _config(data, {"method": {"name": "ce"}}, folder / data, steps=DATA[data]["teacher_steps"])
    config = config.model_copy(update={"budget": config.budget.model_copy(update={"n": 1000})})
    train_student(config, _samples(config), {}, None)
    return folder / data / "student.safetensors"


def _config(data: str, variant: dict[str, Any], directory: Path, *, steps: int = STEPS) -> RunConfig:
    root = Path(os.environ.get("TUITION_TEST_DATA", directory.parent.parent / "data"))
    return parse_config(
        {
            **variant,
            "data": {"name": data, "root": root},
            "student": {"network": "resnet8"},
            "budget": {"n": DATA[data]["n"]},
            "training": {"steps": steps, "batch_size": 32, "checkpoint_every": 10, "device": "cpu"},
            "output": {"directory": directory},
        },
        source="test",
    )


def _samples(config: RunConfig) -> Samples:
    """With 500 test samples, which are enough to tell learning from chance."""
    dataset = load_dataset(config.data.name, config.data.root)
    test = Split(dataset.test.images[:500], dataset.test.needed_labels[:500])
    return Samples.among(replace(dataset, test=test), config)


def _train(
    data: str, variant: str, weights: Path, directory: Path, progress: Progress = lambda _step, _loss: None
) -> dict[str, Any]:
    config = _config(data, VARIANTS[variant], directory)
    samples = _samples(config)
    targets = _outputs(weights, samples, config) if config.needs_teacher else {}
    return train_student(config, samples, targets, "a teacher", progress=progress)


def _train_until_killed(data: str, variant: str, weights: Path, directory: Path) -> None:
    def kill(step: int, _loss: float) -> None:
        if step == KILLED_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)

    _train(data, variant, weights, directory, kill)


def _outputs(weights: Path, samples: Samples, config: RunConfig) -> dict[str, Tensor]:
    """What the teacher would sell."""
    _, network, _ = load_weights(weights)
    layers = [kind.removeprefix(FEATURES) for kind in config.teacher_kinds if kind != LOGITS]
    with torch.inference_mode():
        logits, features = forward_with_features(
            network, preprocessing(samples.dataset, config).normalised(samples.queried), layers
        )
    bought = {LOGITS: logits} | {FEATURES + layer: values for layer, values in features.items()}
    return {kind: values.clone() for kind, values in bought.items()}


def _left_in(directory: Path) -> list[bytes]:
    return [(directory / name).read_bytes() for name in ("student.safetensors", "metrics.jsonl")]
