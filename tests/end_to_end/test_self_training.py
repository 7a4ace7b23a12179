"""Self-training through the command, against a real service: no call beyond those of the bought samples."""

import json
import signal
from multiprocessing.context import ForkServerProcess
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
checkpoint_every = 1
device = "cpu"
[output]
directory = "{folder}/self-trained"
cache = "{folder}/cache.sqlite"
report = false
"""
SELF_TRAINED = (
    "--set=track=unlabelled-pool",
    "--set=self_training={rounds=2, members=2, member_steps=3, network='resnet14'}",
)


DEATHS = ("result.json:1", "pool.safetensors:1")
"""Where the command dies, one start after the other: see dying_worker.py."""


def test_self_training_spends_no_call_killed_or_not(start_service: StartService, tmp_path: Path) -> None:
    """After a plain run has bought all samples; and on its own, killed between the files of a member and of a round."""
    service = start_service()
    folders = [tmp_path / "undisturbed", tmp_path / "killed"]
    keys = [service.create_key(folder.name, quota=2 * N) for folder in folders]
    for folder in folders:
        folder.mkdir()
        (folder / "run.toml").write_text(CONFIG.format(url=service.url, n=N, folder=folder))
    assert _run(folders[0], keys[0], f"--set=output.directory={tmp_path}/plain")["calls"] == N
    result = _run(folders[0], keys[0], *SELF_TRAINED)
    log = (folders[0] / "log").read_text()
    assert "self-training: 2 rounds of 2 members (resnet14, 3 steps each) give outputs to 1,277 unbought images" in log
    assert (result["calls"], result["track"]) == (N, "unlabelled-pool")
    assert result["self_training"] | {"rounds": 2, "members": 2, "network": "resnet14"} == result["self_training"]

    for die_at in DEATHS:
        died = _started(folders[1], keys[1], *SELF_TRAINED, die_at=die_at)
        assert died.exitcode == -signal.SIGKILL, (folders[1] / "log").read_text()
    _run(folders[1], keys[1], *SELF_TRAINED)
    left = [
        [(folder / "self-trained" / "student.safetensors").read_bytes()]
        + [file.read_bytes() for file in sorted(folder.rglob("pool.safetensors"))]
        for folder in folders
    ]
    assert left[0] == left[1]
    assert [service.quota(key)["used"] for key in keys] == [N, N]


def _started(folder: Path, api_key: str, *options: str, die_at: str | None = None) -> ForkServerProcess:
    """The command, after its end."""
    (folder / "log").unlink(missing_ok=True)
    arguments = ["run", str(folder / "run.toml"), "--json", *options]
    module = "distill_worker" if die_at is None else "tests.end_to_end.dying_worker"
    command = start(module, arguments, folder / "log", {"TEACHER_API_KEY": api_key, "DIE_AT": die_at or ""})
    join(command)
    return command


def _run(folder: Path, api_key: str, *options: str) -> dict[str, Any]:
    log = folder / "log"
    assert _started(folder, api_key, *options).exitcode == 0, log.read_text()
    result: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
    return result
