"""Self-training through the command, against a real service: no call beyond those of the bought samples."""

import json
from pathlib import Path
from typing import Any

from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import join, start

N = 20
CONFIG = """
[data]
name = "digits"
[teacher]
url = "{url}"
expect_agreement = false
[budget]
n = {n}
[student]
network = "resnet8"
[method]
name = "kd"
[training]
steps = 4
batch_size = 8
device = "cpu"
[output]
directory = "{folder}/plain"
cache = "{folder}/cache.sqlite"
"""
SELF_TRAINED = (
    "--set=track=unlabelled-pool",
    "--set=self_training={rounds=2, members=2, member_steps=3, network='resnet14'}",
)


def test_self_training_spends_no_call(start_service: StartService, tmp_path: Path) -> None:
    """After a plain run has bought all samples, and as a run of its own with another key and cache."""
    service = start_service()
    (tmp_path / "run.toml").write_text(CONFIG.format(url=service.url, n=N, folder=tmp_path))
    overrides = (*SELF_TRAINED, f"--set=output.directory={tmp_path}/self-trained")
    first = service.create_key("first", quota=2 * N)
    assert _run(tmp_path, first)["calls"] == N
    assert service.quota(first)["used"] == N
    result = _run(tmp_path, first, *overrides)
    assert service.quota(first)["used"] == N
    assert (result["calls"], result["track"]) == (N, "unlabelled-pool")
    assert result["self_training"] | {"rounds": 2, "members": 2, "network": "resnet14"} == result["self_training"]

    second = service.create_key("second", quota=2 * N)
    again = _run(tmp_path, second, *overrides, f"--set=output.cache={tmp_path}/other.sqlite", "--fresh")
    assert (service.quota(second)["used"], service.quota(first)["used"]) == (N, N)
    assert again["accuracy"] == result["accuracy"]


def _run(folder: Path, api_key: str, *options: str) -> dict[str, Any]:
    log = folder / "log"
    log.unlink(missing_ok=True)
    command = start(
        "distill_worker", ["run", str(folder / "run.toml"), "--json", *options], log, {"TEACHER_API_KEY": api_key}
    )
    join(command)
    assert command.exitcode == 0, log.read_text()
    result: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
    return result
