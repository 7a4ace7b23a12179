"""The operator's guide: its commands, run in its order, do what it says."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from shared.weights import WeightsCard
from tests.end_to_end.processes import RunningService, free_port
from tests.endurance import HANG_SECONDS

GUIDE = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()


def test_every_command_of_the_guide_succeeds_and_the_service_ends_well(tmp_path: Path, weights: Path) -> None:
    shutil.copy(weights, tmp_path / "teacher.safetensors")
    port = free_port()
    script = "\n".join(["set -eu", *re.findall(r"```sh\n(.+?)```", GUIDE, re.DOTALL)])
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    told = tmp_path / "told.txt"
    with told.open("w") as output:  # a file, as a service that outlives a failed command would hold a pipe open
        shell = subprocess.Popen(
            ["/bin/sh", "-c", script.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{port}")],
            cwd=tmp_path,
            env={**os.environ, "PATH": commands, "TEACHER_PORT": str(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = shell.wait(timeout=HANG_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    log = (tmp_path / "service.log").read_text()
    assert status == 0, told.read_text() + log
    assert "draining" in log
    assert "Traceback" not in log
    (key,) = json.loads((tmp_path / "keys.json").read_text())["keys"]
    assert (key["name"], key["limit"]) == ("alice", 500)
    metrics = (tmp_path / "metrics.txt").read_text()
    for metric in set(re.findall(r"`((?:nv|teacher)_\w+)", GUIDE)):
        assert re.search(rf"^# TYPE {metric}(_total)? ", metrics, re.MULTILINE), f"{metric} is watched, but not told"


def test_card_of_the_guide_is_one() -> None:
    (card,) = re.findall(r"```json\n(.+?)```", GUIDE, re.DOTALL)
    assert WeightsCard.model_validate_json(card).resize == (224, 224)


def test_health_check_of_the_image_uses_no_proxy(one_service: RunningService) -> None:
    """A container's HTTP_PROXY would make a healthy service unhealthy."""
    (code,) = re.findall(r'"(import urllib.*?)"\]', (Path(__file__).parents[2] / "Dockerfile").read_text())
    checked = subprocess.run(
        [sys.executable, "-c", code.replace("http://127.0.0.1:8000", one_service.url)],
        env={**os.environ, "HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1", "NO_PROXY": ""},
        timeout=HANG_SECONDS,
        check=False,
    )
    assert checked.returncode == 0
