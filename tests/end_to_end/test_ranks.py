"""One student on two ranks that torchrun started: as one process trains it, and as if it was never killed."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from distill_worker.training.ranks.group import ALONE
from shared.exit_status import ExitStatus
from tests.end_to_end.processes import join, start
from tests.end_to_end.trained_on_ranks import CASES, train_all, weights
from tests.endurance import HANG_SECONDS

ROOT = Path(__file__).parents[2]
_TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

NETWORK = """
import os, signal, time
from torch import nn

class Student(nn.Sequential):
    '''It draws, and at one of its training passes it may end its rank, as the environment says.'''

    passes = 0

    def forward(self, images):
        if self.training:
            Student.passes += 1
            attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
            rank, at, how = os.environ.get("ENDS", "- - -").split(", ")[attempt].split()
            if rank == os.environ.get("RANK") and at == str(Student.passes):
                end(how)
        return super().forward(images)

def end(how):
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "failed":
        raise MemoryError("no memory left")
    os.kill(os.getppid(), signal.SIGTERM)  # of torchrun
    while True:
        time.sleep(0.01)

def network(num_classes, in_channels):
    return Student(
        nn.Conv2d(in_channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(),
        nn.Linear(144, num_classes),
    )
"""
RUN = """
data = {{ name = "digits" }}
student = {{ network = "network.py:network" }}
method = {{ name = "{method}" }}
budget = {{ n = {n} }}
training = {{ steps = 40, batch_size = 33, checkpoint_every = 10, device = "cpu" }}
output = {{ directory = "{directory}" }}
"""


def torchrun(
    *arguments: str, folder: Path, restarts: int = 0, environment: Mapping[str, str] = MappingProxyType({})
) -> "Ended":
    """`torchrun --nproc-per-node 2 -m arguments...`, to its end."""
    done = subprocess.run(
        [*_TORCHRUN, "--max-restarts", str(restarts), "-m", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_SECONDS,
    )
    return Ended(done)


class Ended:
    """What torchrun and its ranks left."""

    def __init__(self, done: "subprocess.CompletedProcess[str]") -> None:
        self.status, self.answer, self.notes = done.returncode, done.stdout, done.stderr

    def errors(self) -> list[str]:
        """The errors that the ranks printed, in their order."""
        assert self.status != 0, self.notes
        assert self.answer == ""
        return [line.removeprefix("error: ") for line in self.notes.splitlines() if line.startswith("error: ")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "network.py").write_text(NETWORK)
    return tmp_path


def _write(folder: Path, name: str, *, n: int = 90, method: str = "ce", directory: str = "run") -> None:
    (folder / name).write_text(RUN.format(n=n, method=method, directory=directory))


def _metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_two_ranks_train_what_one_process_trains(tmp_path: Path) -> None:
    """Fifty steps in float64: losses, accuracies, weights, running statistics, memories. Pairs are across ranks too."""
    ended = torchrun("tests.end_to_end.trained_on_ranks", str(tmp_path / "two"), folder=ROOT)
    assert ended.status == 0, ended.notes
    train_all(tmp_path / "one", ALONE)
    for name in CASES:
        one, two = (_metrics(tmp_path / count / name) for count in ("one", "two"))
        assert one[-1]["step"] >= 50
        assert len(one) == len(two)
        for expected, got in zip(one, two, strict=True):
            assert got == pytest.approx(expected, rel=1e-9, abs=1e-9), name
        states = [weights(tmp_path / count, name) for count in ("one", "two")]
        assert states[0].keys() == states[1].keys()
        for key, expected_values in states[0].items():
            difference = (states[1][key].double() - expected_values.double()).abs().max()
            assert difference < 1e-9, f"{name}: {key}"
    losses = [line["loss"] for line in _metrics(tmp_path / "two" / "per rank")]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert losses != pytest.approx([line["loss"] for line in _metrics(tmp_path / "two" / "kd")], rel=1e-3)


def test_run_that_is_killed_on_any_rank_ends_with_the_same_bits(folder: Path) -> None:
    """By SIGKILL of either rank, an error of one, or SIGTERM. An error is printed once, and rank 0 alone writes.

    The directory is no part of a run, so each rank may name another one.
    """
    for rank in (0, 1):
        _write(folder, f"run-{rank}.toml", directory=f"of-rank-{rank}")
    ended = torchrun("distill_worker", "train", "run-$RANK.toml", "--json", folder=folder)
    assert ended.status == 0, ended.notes
    result = json.loads(ended.answer)
    assert (result["ranks"], result["batch_norm"]) == (2, "synchronised")
    assert not (folder / "of-rank-1").exists()

    _write(folder, "run.toml")
    ends = "1 15 killed, 0 18 killed, 1 15 failed"
    train = ("distill_worker", "train", "run.toml")
    ended = torchrun(*train, folder=folder, restarts=2, environment={"ENDS": ends})
    *lost, failed = ended.errors()
    # torchrun may have ended the rank that lost the other before it printed that.
    assert all("another one ended" in message for message in lost)
    assert failed.startswith("student.network: expected the network to take step 35, got MemoryError: no memory left")
    assert (folder / "run" / "checkpoint.pt").exists()
    ended = torchrun(*train, folder=folder, environment={"ENDS": "1 5 terminated"})
    assert ended.status != 0
    assert not (folder / "run" / "result.json").exists()
    assert torchrun(*train, folder=folder).status == 0
    for name in ("student.safetensors", "metrics.jsonl"):
        assert (folder / "run" / name).read_bytes() == (folder / "of-rank-0" / name).read_bytes()
    assert "ranks: 2 in the directory, 1 now" in _refusal_of_one_process(folder)


def _refusal_of_one_process(folder: Path) -> str:
    log = folder / "one.log"
    alone = start("distill_worker", ["train", str(folder / "run.toml")], log)
    join(alone)
    assert alone.exitcode == ExitStatus.UNUSABLE_FILE
    return log.read_text()


def test_ranks_with_different_runs_take_no_step(folder: Path) -> None:
    for rank in (0, 1):
        _write(folder, f"run-{rank}.toml", n=90 + rank)
    ended = torchrun("distill_worker", "train", "run-$RANK.toml", folder=folder)
    (message,) = ended.errors()
    assert message.startswith("rank 1 of 2: expected the run of rank 0, got another one: budget.n, samples differ;")
    assert not (folder / "run").exists()


def test_run_on_ranks_spends_nothing(folder: Path) -> None:
    """No connection to the teacher is made."""
    _write(folder, "run.toml", method="kd")
    with socket.create_server(("127.0.0.1", 0)) as teacher:
        teacher.setblocking(False)
        environment = {"TEACHER_URL": f"http://127.0.0.1:{teacher.getsockname()[1]}"}
        ended = torchrun("distill_worker", "run", "run.toml", "--yes", folder=folder, environment=environment)
        assert ended.status != 0
        assert "nothing was spent" in ended.notes
        assert "distill-worker fetch" in ended.notes
        with pytest.raises(BlockingIOError):
            teacher.accept()
    assert not (folder / "run").exists()
