"""Whole runs on a device: in every precision, compiled, and resumed."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from distill_worker.config.load import parse_config
from distill_worker.errors import RunError
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.train_student import train_student
from distill_worker.training.loop import Progress
from shared.weights import load_weights

N = 300
NO_SECTIONS: Mapping[str, Any] = {}


class Stopped(BaseException):
    """The run is over, whatever it was doing."""


def _run(
    folder: Path,
    device: str,
    progress: Progress = lambda _step, _loss: None,
    *,
    method: Mapping[str, Any] | None = None,
    sections: Mapping[str, Any] = NO_SECTIONS,
    **training: Any,
) -> dict[str, Any]:
    """Train a student on digits, whose teacher knows the labels."""
    document = {
        "data": {"name": "digits"},
        "student": {"network": "resnet8"},
        "method": method or {"name": "ckd"},
        "budget": {"n": N},
        "training": {"steps": 60, "batch_size": 32, "checkpoint_every": 10, "device": device, **training},
        "output": {"directory": str(folder / "run"), "cache": str(folder / "cache.sqlite")},
        **sections,
    }
    config = parse_config(document, source="test")
    samples = Samples.of(config)
    targets = 8 * samples.label_probabilities + torch.randn(N, 10, generator=torch.Generator().manual_seed(0))
    return train_student(config, samples, {"logits": targets}, "teacher", progress=progress)


def _network(folder: Path) -> dict[str, torch.Tensor]:
    _, network, _ = load_weights(folder / "run" / "student.safetensors")
    return network.state_dict()


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_student_learns_in_every_precision(precision: str, tmp_path: Path, device: torch.device) -> None:
    """Ten classes: chance is 0.1."""
    if precision == "float16" and device.type == "cpu":
        pytest.skip("float16 is for a GPU")
    result = _run(tmp_path, device.type, precision=precision)
    assert result["device"] == device.type
    assert result["accuracy"] > 0.6


@pytest.mark.gpu
@pytest.mark.usefixtures("compiler")
def test_compiled_student_learns_the_same(tmp_path: Path) -> None:
    """On the CPU the same is tested where compiling is."""
    plain, compiled = list[float](), list[float]()
    _run(tmp_path / "plain", "cuda", lambda _, loss: plain.append(loss), precision="float32", steps=20)
    _run(
        tmp_path / "compiled",
        "cuda",
        lambda _, loss: compiled.append(loss),
        precision="float32",
        steps=20,
        compile=True,
    )
    torch.testing.assert_close(torch.tensor(compiled[:5]), torch.tensor(plain[:5]), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("method", [{"name": "ckd"}, {"name": "ckd", "k": 3, "pairing": "memory"}, {"name": "mixup"}])
def test_resumed_run_ends_as_one_that_was_not_stopped(
    method: Mapping[str, Any], tmp_path: Path, device: torch.device
) -> None:
    """To the same bits on the CPU; on a GPU within what its order of additions changes in ten steps."""

    def stop(step: int, _loss: float) -> None:
        if step == 13:
            raise Stopped

    options: dict[str, Any] = {"method": method, "precision": "float32", "steps": 20}
    _run(tmp_path / "whole", device.type, **options)
    with suppress(Stopped):
        _run(tmp_path / "stopped", device.type, stop, **options)
    steps = list[int]()
    _run(tmp_path / "stopped", device.type, lambda step, _: steps.append(step), **options)
    assert steps[0] == 11
    whole, resumed = _network(tmp_path / "whole"), _network(tmp_path / "stopped")
    tolerance = 0.0 if device.type == "cpu" else 1e-2
    for name, values in whole.items():
        torch.testing.assert_close(resumed[name], values, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("track", "rounds"), [("unlabelled-pool", 2), ("queried", 1)])
def test_run_that_trains_itself_learns_and_goes_on(
    track: str, rounds: int, tmp_path: Path, device: torch.device
) -> None:
    """It is stopped in the second member of the first ensemble, and in the student's own training. Chance is 0.1."""
    sections = {"track": track, "self_training": {"rounds": rounds, "members": 2, "member_steps": 30}}
    before_student = rounds * 2 * 30
    for last in (30 + 13, before_student + 13):

        def stop(step: int, _loss: float, last: int = last) -> None:
            if step == last:
                raise Stopped

        with suppress(Stopped):
            _run(tmp_path, device.type, stop, sections=sections)
    steps = list[int]()
    result = _run(tmp_path, device.type, lambda step, _: steps.append(step), sections=sections)
    assert steps[0] == before_student + 11
    assert result["device"] == device.type
    assert result["accuracy"] > 0.3


def test_run_that_is_tuned_learns_and_goes_on(tmp_path: Path, device: torch.device) -> None:
    """It is stopped in its second trial. A learning rate of 1e-6 teaches nothing, and is not chosen."""
    tuning = {"folds": 2, "term_weights": [], "weight_decays": [], "learning_rates": [1e-6, 0.05], "first_steps": 60}

    def stop(step: int, _loss: float) -> None:
        if step == 60 + 13:
            raise Stopped

    with suppress(Stopped):
        _run(tmp_path, device.type, stop, sections={"tuning": tuning})
    steps = list[int]()
    result = _run(tmp_path, device.type, lambda step, _: steps.append(step), sections={"tuning": tuning})
    assert (steps[0], steps[-1]) == (60 + 11, 4 * 60 + 60)
    assert result["tuning"]["chosen"] == {"learning_rate": 0.05}
    assert result["device"] == device.type
    assert result["accuracy"] > 0.6


@pytest.mark.gpu
@pytest.mark.parametrize(("began", "goes_on"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_run_goes_on_only_on_the_kind_of_device_that_it_began_on(
    began: str, goes_on: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is taken from a machine with a GPU to one without, or back; `auto` takes the device that is there."""

    def stop(step: int, _loss: float) -> None:
        if step == 13:
            raise Stopped

    def train_on(device: str, progress: Progress = lambda _step, _loss: None) -> dict[str, Any]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda")
        return _run(tmp_path, "auto", progress, precision="float32", steps=20)

    with suppress(Stopped):
        train_on(began, stop)
    with pytest.raises(RunError, match=r"training\.device: expected .*--fresh"):
        train_on(goes_on)
    assert train_on(began)["device"] == began
