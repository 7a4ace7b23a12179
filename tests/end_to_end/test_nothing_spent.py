"""Every check of the registry ends `fetch` and `run` before a call is spent: the service's `used` stays 0."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_worker.cli.command import main
from distill_worker.runs.preflight import CHECKS
from tests.end_to_end.processes import RunningService

QUOTA = 100


@dataclass(frozen=True)
class Fault:
    """One fault, and the message that names it."""

    message: str
    """A part of the message: its field, and what was expected."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Overrides of the configuration."""
    before: Callable[[Path], Mapping[str, Any]] = lambda _folder: {}
    """Makes files in the test's folder; further overrides."""
    quota: int = QUOTA


def _npz(folder: Path, *, shape: tuple[int, ...] = (8, 8), classes: int = 10) -> dict[str, Any]:
    """A data set of random images, as overrides."""
    draw = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, samples in (("train", 40), ("test", 20)):
        arrays[f"{split}_images"] = draw.integers(0, 256, (samples, *shape), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(samples) % classes
    np.savez(folder / "data.npz", **arrays)
    return {"data.name": "npz", "data.path": str(folder / "data.npz")}


FAULTS: dict[str, list[Fault]] = {
    "device": [Fault("training.device: expected a CUDA device", {"training.device": "cuda"})],
    "samples": [
        Fault("budget.n: expected at most 1297", {"budget.n": 1_000_000}),
        Fault("budget.features", {"budget.strategy": "k-center", "budget.features": "absent.safetensors"}),
    ],
    "image-shape": [
        Fault("data: expected images of shape [1, 8, 8]", before=lambda folder: _npz(folder, shape=(9, 9)))
    ],
    "classes": [Fault("data: expected 10 classes", before=lambda folder: _npz(folder, classes=3))],
    "class-names": [
        Fault(
            "data: expected the classes of the teacher, 'nought', ",
            {"teacher.class_names": ["nought", *"123456789"]},
        ),
        Fault("data.classes: expected classes of the data set", {"data.classes.zero": "0"}),
        Fault("data.classes: expected classes of the teacher", {"data.classes.0": "zero"}),
    ],
    "outputs": [Fault("teacher.output: expected 'top_k:99'", {"teacher.output": "top_k:99"})],
    "quota": [Fault("budget.n: expected a quota for 10 calls", quota=3)],
}
"""The faults of each check, by the name of the check."""

ELSEWHERE = {
    "teacher": "tests/distill_worker/runs/test_rounds.py",
    "agreement": "tests/end_to_end/test_classes_by_name.py",
    "limit": "tests/distill_worker/cli/test_buying.py",
}
"""Checks whose fault needs an earlier purchase, and the tests that have it."""


def test_every_check_has_a_fault() -> None:
    assert {check.name for check in CHECKS} == FAULTS.keys() | ELSEWHERE.keys()


@pytest.mark.parametrize("command", ["plan", "fetch", "run"])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, id=f"{name}-{number}")
        for name, faults in FAULTS.items()
        for number, fault in enumerate(faults)
    ],
)
def test_nothing_is_spent(
    fault: Fault,
    command: str,
    one_service: RunningService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    key = one_service.new_key(tmp_path.name, fault.quota)
    monkeypatch.setenv("TEACHER_URL", one_service.url)
    monkeypatch.setenv("TEACHER_API_KEY", key.token)
    settings = {**fault.settings, **fault.before(tmp_path)}
    monkeypatch.setattr(sys, "argv", ["distill-worker", command, str(_config(tmp_path)), *_overrides(settings)])
    with pytest.raises(SystemExit) as exited:
        main()
    ended = capsys.readouterr()
    assert exited.value.code not in (0, 1, None), ended.err
    assert fault.message in ended.err
    assert one_service.quota(key.token)["used"] == 0


def _config(folder: Path) -> Path:
    path = folder / "run.toml"
    path.write_text(
        f"""
data.name = "digits"
student.network = "resnet8"
method.name = "kd"
budget.n = 10
training = {{steps = 2, batch_size = 8, device = "cpu"}}
teacher = {{give_up_after_seconds = 0, request_size = 4}}
output = {{directory = "{folder}/run", cache = "{folder}/cache.sqlite"}}
"""
    )
    return path


def _overrides(settings: Mapping[str, Any]) -> list[str]:
    return [part for name, value in settings.items() for part in ("--set", f"{name}={json.dumps(value)}")]
