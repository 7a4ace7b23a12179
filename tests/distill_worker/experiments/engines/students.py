"""Small students for the tests of engines: a network in a file of its own, on outputs that are drawn, not bought."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import torch

from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.experiments.engines.inputs import Inputs
from distill_worker.experiments.engines.tasks import Task
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.sampling.targets import Bought
from distill_worker.runs.train_student import train_student
from tests.endurance import HANG_SECONDS

N: Final = 24
STEPS: Final = 20
_NETWORK: Final = """
import os, signal, time
from pathlib import Path
from torch import nn

HERE = Path(__file__).parent

class Net(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        layers = nn.Linear(64 * in_channels, 16), nn.ReLU(), nn.Linear(16, num_classes)
        self.layers = nn.Sequential(nn.Flatten(), *layers)
        self.steps = 0

    def forward(self, images):
        self.steps += self.training
        if self.training:
            {event}
        return self.layers(images)
"""

NOTHING: Final = "pass"
DIES: Final = "os.kill(os.getpid(), signal.SIGKILL)"
DIES_ONCE: Final = """if self.steps == 13 and not (HERE / "died").exists():
                (HERE / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)"""
"""SIGKILL at step 13 of the first training, after the checkpoint of step 10."""
FAILS: Final = 'raise RuntimeError("broken")'
FAILS_UNTIL_MENDED: Final = """if self.steps == 3 and not (HERE / "mended").exists():
                raise RuntimeError("broken")"""
"""In its third step, until the file `mended` exists."""
HANGS: Final = """if self.steps == 3:
                (HERE / "hangs").touch()
                while not (HERE / "go").exists():
                    time.sleep(0.01)"""
"""Waits in its third step until the file `go` exists."""


@dataclass(frozen=True)
class Students:
    """Students with seeds from 0 in a folder."""

    folder: Path
    count: int
    event: str = NOTHING
    """What the network does in each training step."""

    def config(self, seed: int, directory: Path | None = None) -> RunConfig:
        """The run of one student, in `directory` if it is given."""
        network = write_network(self.folder, self.event)
        return parse_config(
            {
                "data": {"name": "digits"},
                "student": {"network": "net.py:Net", "network_file": network},
                "method": {"name": "kd"},
                "budget": {"n": N},
                "training": {"steps": STEPS, "batch_size": 8, "checkpoint_every": 5, "device": "cpu", "seed": seed},
                "output": {"directory": directory or self.folder / f"student-{seed}"},
            },
            source="test",
        )

    def tasks(self) -> list[Task]:
        """One for each student."""
        configs = [self.config(seed) for seed in range(self.count)]
        return [Task(f"KD, seed {seed}", config, "all") for seed, config in enumerate(configs)]

    def inputs(self) -> dict[str, Inputs]:
        """What all of them learn from."""
        targets = 5 * torch.randn(N, 10, generator=torch.Generator().manual_seed(0))
        return {"all": Inputs(Samples.of(self.config(0)), Bought({"logits": targets}, "t"))}

    def weights(self) -> list[bytes]:
        """The weights files of all students."""
        return [(self.folder / f"student-{seed}" / "student.safetensors").read_bytes() for seed in range(self.count)]

    def weights_alone(self) -> list[bytes]:
        """The weights files of the same students, each trained alone in this process."""
        learned_from, weights = self.inputs()["all"], []
        for seed in range(self.count):
            config = self.config(seed, self.folder / f"alone-{seed}")
            train_student(config, learned_from.samples, *learned_from.bought)
            weights.append((config.output.directory / "student.safetensors").read_bytes())
        return weights


def write_network(folder: Path, event: str) -> Path:
    """The file of a small network, `net.py:Net`."""
    path = folder / "net.py"
    if not path.exists():
        path.write_text(_NETWORK.format(event=event))
    return path


@contextmanager
def folder_of_ray() -> Iterator[None]:
    """Put the files of a Ray cluster that is started into a folder, which is removed at the end."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # the path of a socket has at most 107 bytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        yield
    shutil.rmtree(folder, ignore_errors=True)


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait; a test fails that waits for ever."""
    deadline = time.monotonic() + HANG_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def trainers_of(directory: Path) -> list[int]:
    """The ids of the processes that have a run directory's lock open."""
    lock, trainers = directory / ".lock", []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if any(file.readlink() == lock for file in (process / "fd").iterdir()):
                trainers.append(int(process.name))
    return trainers
