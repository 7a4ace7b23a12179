"""examples/own as its comments say: a network and data of one's own, by configuration alone."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tests.end_to_end.processes import RunningService
from tests.endurance import ENDURANCE, HANG_SECONDS

EXAMPLES = Path(__file__).parents[2] / "examples"
STEPS = () if ENDURANCE else ("--set", "training.steps=70")


def test_own_network_and_own_data_are_taught_by_configuration_alone(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "own", tmp_path / "examples" / "own")
    _run(tmp_path, "examples/own/make_data.py")
    _worker(tmp_path, "train", "examples/own/teacher.toml", *STEPS)
    service = RunningService(tmp_path / "runs/own-teacher/student.safetensors", tmp_path / "service")
    service.start()
    try:
        key = service.create_key("own", quota=60)
        environment = {"TEACHER_URL": service.url, "TEACHER_API_KEY": key}
        result = _worker(tmp_path, "run", "examples/own/student.toml", *STEPS, **environment)
        assert service.quota(key)["used"] == 60
    finally:
        service.kill()
    assert (result["method"], result["n"], result["calls"]) == ("ckd+kd", 60, 60)
    assert float(str(result["accuracy"])) > 0.6, "two photographs: chance is 0.5"

    weights = "../../runs/own-student/student.safetensors"
    arguments, folder = ("evaluate", weights, "--path", "patches.npz"), tmp_path / "examples/own"
    known = _worker(folder, *arguments, "--trust-code")
    assert known["correct"] == result["correct"]
    refused = _run(folder, "-m", "distill_worker", *arguments, fails=True)
    assert "--trust-code" in refused.stderr, "a weights file runs no code unless that is asked for"


def _worker(folder: Path, *arguments: str, **environment: str) -> dict[str, object]:
    done = _run(folder, "-m", "distill_worker", *arguments, "--json", environment=environment)
    facts: dict[str, object] = json.loads(done.stdout)
    return facts


def _run(
    folder: Path, *arguments: str, environment: Mapping[str, str] = MappingProxyType({}), fails: bool = False
) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_SECONDS,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done
