"""How faults are planted that a check must catch before a call is spent.

Earlier purchases, where a check needs one, are written into the cache by hand.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from distill_worker.cache import Cache, Purchase
from distill_worker.cache.raw_answers import RawAnswer
from distill_worker.config.load import load_config
from distill_worker.runs.resolution import resolved
from distill_worker.runs.rounds import selected_samples
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.sampling.saved_selections import SavedSelections
from distill_worker.teachers.base import Description, Teacher
from distill_worker.training.directory.run_directory import RunDirectory
from shared.exit_status import ExitStatus
from tests.distill_worker.purchases import intend
from tests.foreign.oip_server import ForeignModel

QUOTA = 100
CONFIG, FILE, REJECTED = (
    ExitStatus.WRONG_USAGE,
    ExitStatus.UNUSABLE_FILE,
    ExitStatus.PURCHASE_REJECTED,
)
Before = Callable[[Path, pytest.MonkeyPatch], Mapping[str, Any]]
Earlier = Callable[[Cache, Samples, Teacher, Description], None]


@dataclass(frozen=True)
class Fault:
    """One fault, the message that names it, and the exit status."""

    message: str
    """A part of the message: its field, and what was expected."""
    status: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Overrides of the configuration."""
    before: Before = lambda _folder, _patch: {}
    """Makes files in the test's folder; further overrides."""
    commands: Sequence[str] = ("fetch", "plan", "run")
    quota: int = QUOTA
    foreign: Callable[[], ForeignModel] | None = None
    """Another teacher than the service."""
    earlier: Earlier | None = None
    """Writes an earlier purchase of the run's samples into the cache."""
    arguments: Sequence[str] = ()


def network_of(code: str) -> Before:
    """A network of the user's own."""

    def write(folder: Path, _: pytest.MonkeyPatch) -> Mapping[str, Any]:
        head = "import torch\nfrom torch import nn\n\ndef network(num_classes, in_channels):\n"
        (folder / "own.py").write_text(head + "".join(f"    {line}\n" for line in code.splitlines()))
        return {"student.network": f"{folder / 'own.py'}:network"}

    return write


def npz_file(*, shape: tuple[int, ...] = (8, 8), classes: int = 10) -> Before:
    """A data set of random images."""

    def write(folder: Path, _: pytest.MonkeyPatch) -> Mapping[str, Any]:
        draw = np.random.default_rng(0)
        arrays: dict[str, Any] = {}
        for split, samples in (("train", 40), ("test", 20)):
            arrays[f"{split}_images"] = draw.integers(0, 256, (samples, *shape), dtype=np.uint8)
            arrays[f"{split}_labels"] = np.arange(samples) % classes
        np.savez(folder / "data.npz", **arrays)
        return {"data.name": "npz", "data.path": str(folder / "data.npz")}

    return write


def below_a_file(setting: str) -> Before:
    def write(folder: Path, _: pytest.MonkeyPatch) -> Mapping[str, Any]:
        (folder / "file").write_text("")
        return {setting: str(folder / "file" / "place")}

    return write


def finished(**facts: Any) -> Before:
    """The run directory holds a finished run that differs in these facts."""

    def finish(folder: Path, _: pytest.MonkeyPatch) -> Mapping[str, Any]:
        config = resolved(load_config(folder / "run.toml"))
        directory = RunDirectory(config.output.directory)
        with directory.opened(config.identity | {"samples": "0" * 16, "teacher_id": "t", **facts}):
            directory.finish(b"", {})
        return {}

    return finish


def directory_in_use(folder: Path, _: pytest.MonkeyPatch) -> Mapping[str, Any]:
    """Another open file holds the lock, as another process would, until `_released`."""
    (folder / "run").mkdir()
    locks.append(os.open(folder / "run" / ".lock", os.O_CREAT | os.O_WRONLY))
    fcntl.flock(locks[-1], fcntl.LOCK_EX)
    return {}


locks: list[int] = []


def chosen_with_another_teacher(folder: Path, _: pytest.MonkeyPatch) -> Mapping[str, Any]:
    rounds = {"budget.strategy": "entropy", "budget.rounds": 2}
    config = resolved(
        load_config(folder / "run.toml", [f"{name}={json.dumps(value)}" for name, value in rounds.items()])
    )
    candidates = selected_samples(config, keep=True).samples
    saved = SavedSelections.in_run(config)
    [first] = saved.read()
    others = [key.hex() for key in candidates.images_by_key() if key.hex() not in first.keys]
    saved.write(first.model_copy(update={"round": 2, "teacher_id": "another", "keys": tuple(others[:5])}))
    return rounds


def no_compiler(_: Path, patch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    patch.setenv("CXX", "no-such-compiler")
    return {}


def no_leases(folder: Path, _: pytest.MonkeyPatch) -> Mapping[str, Any]:
    """The cache's file can be opened, but the folder for the leases of buyers cannot be made."""
    (folder / "cache.sqlite.buyers").write_text("")
    return {}


def full_disk(place: str, *, free: int = 0) -> Before:
    """The disk of a folder is full, or almost, by what the system says."""

    def fill(folder: Path, patch: pytest.MonkeyPatch) -> Mapping[str, Any]:
        (folder / "cache").mkdir()
        full = (folder / place, (folder / place).parent)  # a plan makes no cache: its folder stands for it
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free if Path(path) in full else 10**12))
        return {"output.cache": str(folder / "cache" / "cache.sqlite")}

    return fill


def foreign(**facts: Any) -> Callable[[], ForeignModel]:
    given = {"image_shape": (1, 8, 8), "num_classes": 10, "name": "teacher", **facts}
    return lambda: ForeignModel(lambda images: np.zeros((len(images), 10)), **given)


ONE_FOR_ALL = """
from tests.end_to_end import one_network
return one_network.NETWORK
"""
DRAWS_FROM_THE_SYSTEM = """
import numpy
network = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))
network[1].bias.data += torch.from_numpy(numpy.random.default_rng().random(num_classes)).float()
return network
"""


HIDDEN_DRAWS = """
import numpy
factor = float(numpy.random.default_rng().random())
class Scaled(nn.Linear):
    def forward(self, images):
        return super().forward(images) * factor
return nn.Sequential(nn.Flatten(), Scaled(64, num_classes))
"""
LATE_BUFFER = """
class Masked(nn.Linear):
    def forward(self, images):
        self.register_buffer("mask", torch.ones(num_classes))
        return super().forward(images) * self.mask
return nn.Sequential(nn.Flatten(), Masked(64, num_classes))
"""


def left_open(cache: Cache, samples: Samples, teacher: Teacher, description: Description) -> None:
    begun_purchase(cache, samples.keys[:4], teacher, description)


def disagreeing(cache: Cache, samples: Samples, teacher: Teacher, description: Description) -> None:
    """Sixty samples were answered, each with the class after its label."""
    purchase = begun_purchase(cache, samples.keys[:60], teacher, description)
    wrong = (samples.dataset.train.needed_labels[samples.chosen[:60]].numpy() + 1) % 10
    cache.complete(purchase, {"logits": np.eye(10, dtype=np.float32)[wrong]})


def bought_before(cache: Cache, samples: Samples, teacher: Teacher, description: Description) -> None:
    """The images were bought as the first rules read them."""
    keys = [*samples.dataset.train.first_keys.values()]
    cache.complete(
        begun_purchase(cache, keys, teacher, description), {"logits": np.eye(10, dtype=np.float32)[[0] * len(keys)]}
    )


def unreadable(cache: Cache, samples: Samples, teacher: Teacher, description: Description) -> None:
    source = description.source or description.id
    purchase = begun_purchase(cache, samples.keys[:4], teacher, description)
    cache.keep(purchase, RawAnswer(b"<html>", {}, source, source), reason="no JSON")


def lost(cache: Cache, samples: Samples, teacher: Teacher, description: Description) -> None:
    begun_purchase(cache, samples.keys[:4], teacher, description)


def begun_purchase(cache: Cache, keys: Sequence[bytes], teacher: Teacher, description: Description) -> Purchase:
    return intend(cache, cache.order(description.id, ["logits"]), keys, payer=teacher.payer)


ONE_IMAGE_FAILS = """
class Network(nn.Linear):
    def forward(self, images):
        return super().forward(images.flatten(1)).squeeze(0)
return Network(64, num_classes)
"""
TRAINING_FAILS = """
class Network(nn.Linear):
    def forward(self, images):
        if self.training:
            raise ArithmeticError("mine")
        return super().forward(images.flatten(1))
return Network(64, num_classes)
"""
FULL_BATCHES_FAIL = """
class Network(nn.Linear):
    def forward(self, images):
        if len(images) > 4:
            raise ArithmeticError("more than 4")
        return super().forward(images.flatten(1))
return Network(64, num_classes)
"""
ONE_TYPE_ALONE = """
class Network(nn.Linear):
    def forward(self, images):
        logits = super().forward(images.flatten(1))
        return torch.zeros(logits.shape).index_add_(0, torch.arange(len(logits)), logits)
return Network(64, num_classes)
"""
