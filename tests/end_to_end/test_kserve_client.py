"""KServe's client, unmodified and in an environment of its own, against the service."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from teacher_service.models import TorchTeacher
from tests.end_to_end.conftest import StartService
from tests.endurance import HANG_SECONDS

PYTHON = Path(__file__).parents[2] / ".venv-kserve" / "bin" / "python"
IMAGES = np.arange(3 * 64, dtype=np.uint8).reshape(3, 1, 8, 8)

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="KServe's client needs .venv-kserve, which `make` installs")


def test_kserve_client_gets_the_teachers_logits_and_understands_refusals(
    start_service: StartService, weights: Path
) -> None:
    service = start_service()
    key = service.create_key("kserve", quota=6)
    script = Path(__file__).with_name("kserve_client.py")
    done = subprocess.run(
        [PYTHON, script, service.url, key], capture_output=True, text=True, check=False, timeout=HANG_SECONDS
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["live"] is found["ready"] is found["model_ready"] is True
    expected = TorchTeacher(weights, "cpu").predict(IMAGES)
    for kind in ("json", "binary"):
        assert (found[kind]["id"], found[kind]["model"]) == ("7", "teacher")
        np.testing.assert_allclose(np.reshape(found[kind]["logits"], (3, 10)), expected, rtol=1e-5)
    assert "0 of 6 remain" in found["exhausted"]
    assert "'429 Too Many Requests'" in found["exhausted"]
    assert "expected 'teacher', got 'other'" in found["unknown_model"]
    assert "'404 Not Found'" in found["unknown_model"]
    assert "unknown, revoked or expired" in found["wrong_key"]
    assert service.quota(key)["used"] == 6
