"""One student on two ranks that torchrun started: as one process trains it, and as if it was never killed."""

import json
import os
import runpy
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from distill_worker.training.ranks.group import ALONE
from shared.exit_status import ExitStatus
from tests.end_to_end import trained_on_ranks
from tests.end_to_end.processes import call, join, start
from tests.end_to_end.trained_on_ranks import CASES, train_all, weights

ROOT = Path(__file__).parents[2]
_FORKED = ("--run-path", str(ROOT / "distill_worker" / "__main__.py"))
_STARTED = ("-m", "distill_worker")

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
    """`torchrun --nproc-per-node 2 arguments...`, to its end. It forks a script's ranks, which start fast."""
    how = ["--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts), "--start-method", "fork"]
    whole = {**os.environ, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", **environment}
    torch_process = call(_torchrun, [*how, *arguments], folder, whole, has_children=True)
    answer, notes = (_output(folder, stream).read_text() for stream in (1, 2))
    return Ended(torch_process.exitcode, answer, notes)


def _torchrun(arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for stream in (1, 2):
        with _output(folder, stream).open("wb") as file:
            os.dup2(file.fileno(), stream)
    sys.argv = ["torchrun", *arguments]
    runpy.run_module("torch.distributed.run", run_name="__main__")


def _output(folder: Path, stream: int) -> Path:
    return folder / f"output-{stream}"


@dataclass(frozen=True)
class Ended:
    """What torchrun and its ranks left."""

    status: int | None
    answer: str
    notes: str

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
    """In float64: losses, accuracies, weights, running statistics, memories. Pairs are across ranks too."""
    ended = torchrun("--run-path", trained_on_ranks.__file__, str(tmp_path / "two"), folder=tmp_path)
    assert ended.status == 0, ended.notes
    train_all(tmp_path / "one", ALONE)
    for name, case in CASES.items():
        one, two = (_metrics(tmp_path / count / name) for count in ("one", "two"))
        assert one[-1]["step"] >= (case.training.steps if case.training.protocol == "steps" else 50)
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
    ended = torchrun(*_STARTED, "train", "run-$RANK.toml", "--json", folder=folder)
    assert ended.status == 0, ended.notes
    result = json.loads(ended.answer)
    assert (result["ranks"], result["batch_norm"]) == (2, "synchronised")
    assert not (folder / "of-rank-1").exists()

    _write(folder, "run.toml")
    ends = "1 15 killed, 0 18 killed, 1 15 failed"
    train = (*_FORKED, "train", "run.toml")
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
    ended = torchrun(*_FORKED, "train", "run-$RANK.toml", folder=folder)
    (message,) = ended.errors()
    assert message.startswith("rank 1 of 2: expected the run of rank 0, got another one: budget.n, samples differ;")
    assert not (folder / "run").exists()


def test_run_on_ranks_spends_nothing(folder: Path) -> None:
    """No connection to the teacher is made."""
    _write(folder, "run.toml", method="kd")
    with socket.create_server(("127.0.0.1", 0)) as teacher:
        teacher.setblocking(False)
        environment = {"TEACHER_URL": f"http://127.0.0.1:{teacher.getsockname()[1]}"}
        ended = torchrun(*_FORKED, "run", "run.toml", "--yes", folder=folder, environment=environment)
        assert ended.status != 0
        assert "nothing was spent" in ended.notes
        assert "distill-worker fetch" in ended.notes
        with pytest.raises(BlockingIOError):
            teacher.accept()
    assert not (folder / "run").exists()
