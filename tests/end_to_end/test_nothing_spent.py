"""Every check of the registry ends `plan`, `fetch` and `run` before a call is spent: the teacher's `used` stays 0.

Each fault is filed under the check that catches it first. `plan` and `run` are tried with the first fault of a check,
`fetch` with all.

Earlier purchases, where a check needs one, are written into the cache by hand.
"""

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from distill_worker.cache import Cache, Purchase
from distill_worker.cache.raw_answers import RawAnswer
from distill_worker.cli.command import main
from distill_worker.config.load import load_config
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import WorkerError
from distill_worker.runs import preflight, purchase
from distill_worker.runs.preflight import CHECKS, Check
from distill_worker.runs.resolution import resolved
from distill_worker.runs.rounds import selected_samples
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.sampling.saved_selections import SavedSelections
from distill_worker.teachers.base import Description, Teacher
from distill_worker.training.directory.run_directory import RunDirectory
from shared.exit_status import ExitStatus
from teacher_service.policy.output_policy import OutputPolicy
from tests.distill_worker.purchases import intend
from tests.end_to_end.processes import RunningService
from tests.end_to_end.turned_digits import turned_digits
from tests.foreign.oip_server import ForeignModel, served

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


def _network(code: str) -> Before:
    """A network of the user's own."""

    def write(folder: Path, _: pytest.MonkeyPatch) -> Mapping[str, Any]:
        head = "import torch\nfrom torch import nn\n\ndef network(num_classes, in_channels):\n"
        (folder / "own.py").write_text(head + "".join(f"    {line}\n" for line in code.splitlines()))
        return {"student.network": f"{folder / 'own.py'}:network"}

    return write


def _npz(*, shape: tuple[int, ...] = (8, 8), classes: int = 10) -> Before:
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


def _below_a_file(setting: str) -> Before:
    def write(folder: Path, _: pytest.MonkeyPatch) -> Mapping[str, Any]:
        (folder / "file").write_text("")
        return {setting: str(folder / "file" / "place")}

    return write


def _finished(**facts: Any) -> Before:
    """The run directory holds a finished run that differs in these facts."""

    def finish(folder: Path, _: pytest.MonkeyPatch) -> Mapping[str, Any]:
        config = resolved(load_config(folder / "run.toml"))
        directory = RunDirectory(config.output.directory)
        with directory.opened(config.identity | {"samples": "0" * 16, "teacher_id": "t", **facts}):
            directory.finish(b"", {})
        return {}

    return finish


def _in_use(folder: Path, _: pytest.MonkeyPatch) -> Mapping[str, Any]:
    """Another open file holds the lock, as another process would, until `_released`."""
    (folder / "run").mkdir()
    _locks.append(os.open(folder / "run" / ".lock", os.O_CREAT | os.O_WRONLY))
    fcntl.flock(_locks[-1], fcntl.LOCK_EX)
    return {}


_locks: list[int] = []


@pytest.fixture(autouse=True)
def _released() -> Iterator[None]:
    yield
    while _locks:
        os.close(_locks.pop())


def _chosen_with_another_teacher(folder: Path, _: pytest.MonkeyPatch) -> Mapping[str, Any]:
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


def _no_compiler(_: Path, patch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    patch.setenv("CXX", "no-such-compiler")
    return {}


def _no_leases(folder: Path, _: pytest.MonkeyPatch) -> Mapping[str, Any]:
    """The cache's file can be opened, but the folder for the leases of buyers cannot be made."""
    (folder / "cache.sqlite.buyers").write_text("")
    return {}


def _full_disk(place: str, *, free: int = 0) -> Before:
    """The disk of a folder is full, or almost, by what the system says."""

    def fill(folder: Path, patch: pytest.MonkeyPatch) -> Mapping[str, Any]:
        (folder / "cache").mkdir()
        full = (folder / place, (folder / place).parent)  # a plan makes no cache: its folder stands for it
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free if Path(path) in full else 10**12))
        return {"output.cache": str(folder / "cache" / "cache.sqlite")}

    return fill


def _foreign(**facts: Any) -> Callable[[], ForeignModel]:
    given = {"image_shape": (1, 8, 8), "num_classes": 10, "name": "teacher", **facts}
    return lambda: ForeignModel(lambda images: np.zeros((len(images), 10)), **given)


_ONE_FOR_ALL = """
from tests.end_to_end import one_network
return one_network.NETWORK
"""
_DRAWS_FROM_THE_SYSTEM = """
import numpy
network = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))
network[1].bias.data += torch.from_numpy(numpy.random.default_rng().random(num_classes)).float()
return network
"""


_HIDDEN_DRAWS = """
import numpy
factor = float(numpy.random.default_rng().random())
class Scaled(nn.Linear):
    def forward(self, images):
        return super().forward(images) * factor
return nn.Sequential(nn.Flatten(), Scaled(64, num_classes))
"""
_LATE_BUFFER = """
class Masked(nn.Linear):
    def forward(self, images):
        self.register_buffer("mask", torch.ones(num_classes))
        return super().forward(images) * self.mask
return nn.Sequential(nn.Flatten(), Masked(64, num_classes))
"""


def _left_open(cache: Cache, samples: Samples, teacher: Teacher, description: Description) -> None:
    _begun(cache, samples.keys[:4], teacher, description)


def _disagreeing(cache: Cache, samples: Samples, teacher: Teacher, description: Description) -> None:
    """Sixty samples were answered, each with the class after its label."""
    purchase = _begun(cache, samples.keys[:60], teacher, description)
    wrong = (samples.dataset.train.needed_labels[samples.chosen[:60]].numpy() + 1) % 10
    cache.complete(purchase, {"logits": np.eye(10, dtype=np.float32)[wrong]})


def _bought_before(cache: Cache, samples: Samples, teacher: Teacher, description: Description) -> None:
    """The images were bought as the first rules read them."""
    keys = [*samples.dataset.train.first_keys.values()]
    cache.complete(_begun(cache, keys, teacher, description), {"logits": np.eye(10, dtype=np.float32)[[0] * len(keys)]})


def _unreadable(cache: Cache, samples: Samples, teacher: Teacher, description: Description) -> None:
    source = description.source or description.id
    purchase = _begun(cache, samples.keys[:4], teacher, description)
    cache.keep(purchase, RawAnswer(b"<html>", {}, source, source), reason="no JSON")


def _lost(cache: Cache, samples: Samples, teacher: Teacher, description: Description) -> None:
    _begun(cache, samples.keys[:4], teacher, description)


def _begun(cache: Cache, keys: Sequence[bytes], teacher: Teacher, description: Description) -> Purchase:
    return intend(cache, cache.order(description.id, ["logits"]), keys, payer=teacher.payer)


_ONE_IMAGE_FAILS = """
class Network(nn.Linear):
    def forward(self, images):
        return super().forward(images.flatten(1)).squeeze(0)
return Network(64, num_classes)
"""
_TRAINING_FAILS = """
class Network(nn.Linear):
    def forward(self, images):
        if self.training:
            raise ArithmeticError("mine")
        return super().forward(images.flatten(1))
return Network(64, num_classes)
"""
_FULL_BATCHES_FAIL = """
class Network(nn.Linear):
    def forward(self, images):
        if len(images) > 4:
            raise ArithmeticError("more than 4")
        return super().forward(images.flatten(1))
return Network(64, num_classes)
"""
_ONE_TYPE_ALONE = """
class Network(nn.Linear):
    def forward(self, images):
        logits = super().forward(images.flatten(1))
        return torch.zeros(logits.shape).index_add_(0, torch.arange(len(logits)), logits)
return Network(64, num_classes)
"""

SELF_TRAINED = {"track": "unlabelled-pool", "self_training.rounds": 1}
FAULTS: dict[str, list[Fault]] = {
    "device": [Fault("training.device: expected a CUDA device", CONFIG, {"training.device": "cuda"})],
    "precision": [
        Fault(
            "training.precision: expected auto, float32 or bfloat16 on a CPU", CONFIG, {"training.precision": "float16"}
        ),
        Fault("training.compile: expected a C++ compiler", CONFIG, {"training.compile": True}, before=_no_compiler),
    ],
    "trackers": [
        Fault("output.trackers: expected", CONFIG, {"output.trackers": ["none-such"]}, commands=["run"]),
    ],
    "directory": [
        Fault("place: cannot write to it", FILE, before=_below_a_file("output.directory")),
        Fault("training.steps: 2 in the directory, 3 now", FILE, {"training.steps": 3}, before=_finished()),
        Fault("budget.n: 10 in the directory, 11 now", FILE, {"budget.n": 11}, before=_finished(), commands=["run"]),
        Fault("another process is training in this directory", FILE, before=_in_use, commands=["run"]),
    ],
    "samples": [
        Fault("budget.n: expected at most 1297", CONFIG, {"budget.n": 1_000_000}),
        Fault(
            "absent.safetensors: no such weights file",
            CONFIG,
            {"budget.strategy": "k-center", "budget.features": "absent.safetensors"},
        ),
        Fault("absent.npz: expected an .npz file", FILE, {"data.name": "npz", "data.path": "absent.npz"}),
    ],
    "self-training": [
        Fault(
            "self_training: expected samples that are neither bought nor for validation, got none",
            CONFIG,
            SELF_TRAINED | {"budget.n": 40},
            _npz(),
        ),
        Fault(
            "absent.safetensors: no such weights file",
            CONFIG,
            SELF_TRAINED | {"self_training.assistant": "absent.safetensors", "method.name": "kd"},
        ),
    ],
    "methods": [
        Fault("method: lskd needs at least 3 classes, got 2", CONFIG, {"method.name": "lskd"}, _npz(classes=2)),
        Fault("method: rkd needs batches of at least 3", CONFIG, {"method.name": "rkd", "budget.n": 2}),
    ],
    "tuning": [
        Fault("tuning.folds: expected a sample in each fold", CONFIG, {"method.name": "kd", "tuning.folds": 11}),
        Fault(
            "tuning: a trial has 2 samples, which are those outside a fold: method: rkd needs batches of at least 3",
            CONFIG,
            {"method.name": "rkd", "budget.n": 4, "tuning.folds": 2},
        ),
    ],
    "teacher": [Fault("teacher: expected another, from which", FILE, before=_chosen_with_another_teacher)],
    "image-shape": [
        Fault("data: expected images of shape [1, 8, 8]", REJECTED, before=_npz(shape=(9, 9))),
        Fault("data: expected images of 3 channels", REJECTED, foreign=_foreign(image_shape=(3, -1, -1))),
    ],
    "datatype": [
        Fault(
            "teacher.input_name: expected an input that takes images as UINT8, pixels from 0 to 255, got",
            REJECTED,
            foreign=_foreign(image_datatype="FP32"),
        )
    ],
    "picture-rules": [
        Fault(
            "data.rules: expected 1 or 2, because outputs of 40 images were bought as an earlier version reads",
            REJECTED,
            before=turned_digits,
            earlier=_bought_before,
        )
    ],
    "classes": [
        Fault("data: expected 12 classes", REJECTED, {"teacher.num_classes": 12}, foreign=_foreign(num_classes=-1)),
        Fault("data: expected 10 classes", REJECTED, before=_npz(classes=3)),
    ],
    "class-names": [
        Fault(
            "data: expected the classes of the teacher, 'nought', ",
            CONFIG,
            {"teacher.class_names": ["nought", *"123456789"]},
        ),
        Fault("data.classes: expected classes of the data set", CONFIG, {"data.classes.zero": "0"}),
        Fault("data.classes: expected classes of the teacher", CONFIG, {"data.classes.0": "zero"}),
    ],
    "outputs": [
        Fault("teacher.output: expected 'top_k:99'", REJECTED, {"teacher.output": "top_k:99"}),
        Fault(
            "method: rkd needs logits",
            REJECTED,
            {"method.name": "rkd"},
            foreign=_foreign(tensors=("log_probabilities",)),
        ),
    ],
    "run": [Fault("teacher_id: 't' in the directory", FILE, before=_finished(), commands=["run"])],
    "dry-pass": [
        Fault("student.network: a CIFAR resnet has depth", CONFIG, {"student.network": "resnet9"}),
        Fault("student.weights: cannot read", CONFIG, {"student.weights": "nowhere.pth"}),
        Fault(
            "self_training: a member of the ensemble: student.network: a CIFAR resnet has depth",
            CONFIG,
            SELF_TRAINED | {"self_training.network": "resnet9"},
        ),
        Fault("'no_such_module' cannot be imported", CONFIG, {"student.network": "no_such_module:network"}),
        Fault("KeyError: 'mine'", CONFIG, before=_network("raise KeyError('mine')")),
        Fault(
            "student.network: expected one that takes images of shape [1, 8, 8]",
            CONFIG,
            before=_network("return nn.Sequential(nn.Flatten(), nn.Linear(63, num_classes))"),
        ),
        Fault(
            "expected logits of shape [1, 10] for a batch of 1 and 10 classes, got [1, 11]",
            CONFIG,
            before=_network("return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes + 1))"),
        ),
        Fault(
            "at least one trainable parameter",
            CONFIG,
            before=_network("return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes)).requires_grad_(False)"),
        ),
        Fault(
            "got torch.float32 [1, 10, 8, 8]", CONFIG, before=_network("return nn.Conv2d(in_channels, num_classes, 1)")
        ),
        Fault("got others in '1.weight'; make a new network at each call", CONFIG, before=_network(_ONE_FOR_ALL)),
        Fault("got others in '1.bias'", CONFIG, before=_network(_DRAWS_FROM_THE_SYSTEM)),
        Fault("expected a positive weight", CONFIG, {"method.weight": 0, "method.label_weight": 0}),
        Fault("to give the same logits when it is loaded", CONFIG, before=_network(_HIDDEN_DRAWS), commands=("run",)),
        Fault("got '1.mask' made", CONFIG, before=_network(_LATE_BUFFER), commands=("run",)),
        Fault("got torch.float32 [10]", CONFIG, before=_network(_ONE_IMAGE_FAILS)),
        Fault("ArithmeticError: mine", CONFIG, before=_network(_TRAINING_FAILS)),
        Fault("ArithmeticError: more than 4", CONFIG, before=_network(_FULL_BATCHES_FAIL)),
        Fault(
            "student.network: expected one that computes in bfloat16 under torch.autocast, got RuntimeError",
            CONFIG,
            {"training.precision": "bfloat16"},
            before=_network(_ONE_TYPE_ALONE),
        ),
        Fault("Wrong image height", CONFIG, {"student.network": "torchvision:vit_b_32"}),
        Fault(
            "the network has no layer 'absent'",
            CONFIG,
            {"method.name": "ckd", "method.on": "features", "method.student_layer": "absent"},
        ),
        Fault(
            "method.student_layer: expected features of 3 dimensions",
            CONFIG,
            {"method.name": "at", "method.student_layer": "pooled"},
        ),
        Fault(
            "budget.strategy: expected a network that ends in a linear layer",
            CONFIG,
            {"budget.strategy": "badge", "budget.rounds": 2},
            before=_network("return nn.Sequential(nn.Conv2d(in_channels, num_classes, 8), nn.Flatten())"),
        ),
    ],
    "disk-space": [
        Fault("MB of free disk space for the student", FILE, before=_full_disk(".")),
        Fault("MB of free disk space for the members of an ensemble", FILE, SELF_TRAINED, before=_full_disk(".")),
    ],
    "cache": [
        Fault("cache of bought outputs cannot be used", FILE, before=_no_leases, commands=("fetch", "run")),
    ],
    "cache-space": [
        Fault("MB of free disk space for the outputs", FILE, before=_full_disk("cache/cache.sqlite")),
        Fault("got 1.0 MB. Nothing was spent", FILE, before=_full_disk("cache/cache.sqlite", free=1_000_000)),
    ],
    "agreement": [
        Fault("than by chance", REJECTED, {"budget.n": 80}, earlier=_disagreeing),
    ],
    "kept-answers": [
        Fault("cannot be read", REJECTED, foreign=_foreign(), earlier=_unreadable),
        Fault("got none: 4 samples may have been charged", REJECTED, foreign=_foreign(), earlier=_lost),
    ],
    "limit": [Fault("--max-calls: expected at least 4", REJECTED, earlier=_left_open, arguments=("--max-calls", "2"))],
    "quota": [Fault("budget.n: expected a quota for 10 calls", REJECTED, quota=3)],
    "rounds": [
        Fault(
            "budget.n: expected a quota for 10 calls in this and later rounds",
            REJECTED,
            {"budget.strategy": "entropy", "budget.rounds": 2},
            quota=7,
        )
    ],
}
"""The faults of each check, by the name of the check."""


def test_every_check_has_a_fault() -> None:
    assert {check.name for check in CHECKS} == FAULTS.keys()


@pytest.mark.parametrize(
    ("name", "fault", "command"),
    [
        pytest.param(name, fault, command, id=f"{name}-{number}-{command}")
        for name, faults in FAULTS.items()
        for number, fault in enumerate(faults)
        for command in (fault.commands[:1] if number else fault.commands)
    ],
)
def test_nothing_is_spent(
    name: str,
    fault: Fault,
    command: str,
    one_service: RunningService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = _config(tmp_path)
    settings = {**fault.settings, **fault.before(tmp_path, monkeypatch)}
    with _teacher(fault, one_service, tmp_path.name, monkeypatch) as used:
        if fault.earlier is not None:
            _write_earlier(fault.earlier, load_config(config, _overrides(settings)[1::2]))
        arguments = (*_overrides(settings), *fault.arguments)
        monkeypatch.setattr(sys, "argv", ["distill-worker", command, str(config), *arguments])
        failed = _failed_checks(monkeypatch)
        with pytest.raises(SystemExit) as exited:
            main()
        ended = capsys.readouterr()
        assert fault.message in ended.err
        if (name, command) != ("samples", "run"):  # a run in rounds selects its samples before the checks
            assert failed[:1] == [name]
        assert exited.value.code == fault.status
        assert used() == 0


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in ("limit", "cache")])
def test_doctor_names_the_fault(
    name: str,
    one_service: RunningService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With what to do. It has no option --max-calls, and a cache that is absent has no leases yet."""
    fault, config = FAULTS[name][0], _config(tmp_path)
    settings = {**fault.settings, **fault.before(tmp_path, monkeypatch)}
    with _teacher(fault, one_service, f"{tmp_path.name}-doctor", monkeypatch) as used:
        if fault.earlier is not None:
            _write_earlier(fault.earlier, load_config(config, _overrides(settings)[1::2]))
        monkeypatch.setattr(sys, "argv", ["distill-worker", "doctor", str(config), *_overrides(settings), "--json"])
        with pytest.raises(SystemExit) as exited:
            main()
        findings = json.loads(capsys.readouterr().out)["findings"]
        [named] = [finding for finding in findings if fault.message in finding["line"]]
        assert (named["grade"], exited.value.code) == ("fault", ExitStatus.DIFFERENCE)
        assert named["remedy"]
        assert used() == 0


COMPARED = {
    "a network": Fault("student.network: a CIFAR resnet has depth", CONFIG, {"network": "resnet9"}),
    "a layer of one method": Fault("the network has no layer 'absent'", CONFIG, {"layer": "absent"}),
    "a device": Fault("training.device: expected a CUDA device", CONFIG, {"device": "cuda"}),
    "the data": Fault("data: expected 10 classes", REJECTED, before=_npz(classes=3)),
    "a tracker": Fault("output.trackers: expected", CONFIG, {"trackers": "none-such"}),
    "the directory of one student": Fault("cannot write to it", FILE, before=_below_a_file("directory")),
}
"""Faults of a comparison, whose file is made from these values."""


@pytest.mark.parametrize("name", COMPARED)
def test_nothing_is_spent_on_a_comparison(
    name: str,
    one_service: RunningService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One cell of several has the fault, or all have it."""
    fault = COMPARED[name]
    settings = {**fault.settings, **fault.before(tmp_path, monkeypatch)}
    with _teacher(fault, one_service, tmp_path.name, monkeypatch) as used:
        monkeypatch.setattr(sys, "argv", ["distill-worker", "compare", str(_comparison(tmp_path, settings)), "--yes"])
        with pytest.raises(SystemExit) as exited:
            main()
        assert fault.message in capsys.readouterr().err
        assert exited.value.code == fault.status
        assert used() == 0


def _failed_checks(monkeypatch: pytest.MonkeyPatch) -> Sequence[str]:
    """The names of the checks that raise from now on."""
    failed: list[str] = []

    def recorded(check: Check[Any]) -> Check[Any]:
        def run(facts: Any) -> None:
            try:
                check.run(facts)
            except WorkerError:
                failed.append(check.name)
                raise

        return replace(check, run=run)

    for stage in ("WITHOUT_TEACHER", "WITH_DESCRIPTION", "WITH_OUTPUTS", "WITH_CACHE", "WITH_PLAN"):
        monkeypatch.setattr(preflight, stage, tuple(map(recorded, getattr(preflight, stage))))
    return failed


def _write_earlier(earlier: Earlier, config: RunConfig) -> None:
    with purchase.connect(config) as (teacher, description), Cache(config.output.cache) as cache:
        earlier(cache, Samples.of(config), teacher, description)


@contextmanager
def _teacher(
    fault: Fault, service: RunningService, name: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], int]]:
    """The fault's teacher, in the environment; what it charged."""
    if fault.foreign is not None:
        model = fault.foreign()
        with served(model) as url:
            monkeypatch.setenv("TEACHER_URL", url)
            yield lambda: sum(model.charged)
        return
    key = service.new_key(name, fault.quota, outputs=OutputPolicy.parse("logits,features"))
    monkeypatch.setenv("TEACHER_URL", service.url)
    monkeypatch.setenv("TEACHER_API_KEY", key.token)
    yield lambda: int(service.quota(key.token)["used"])


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


def _comparison(folder: Path, settings: Mapping[str, Any]) -> Path:
    path = folder / "comparison.toml"
    path.write_text(
        f"""
data = {{name = "{settings.get("data.name", "digits")}"{_path_of(settings)}}}
student.network = "{settings.get("network", "resnet8")}"
training = {{steps = 2, batch_size = 8, device = "{settings.get("device", "cpu")}"}}
teacher = {{give_up_after_seconds = 0, request_size = 4}}

[compare]
directory = "{settings.get("directory", folder / "compared")}"
n = [10]
seeds = 2
trackers = {json.dumps([settings["trackers"]] if "trackers" in settings else [])}
methods = [
    {{label = "CE", method = {{name = "ce"}}}},
    {{label = "KD", method = {{name = "kd"}}}},
    {{label = "CKD", method = {{name = "ckd", on = "features", student_layer = "{settings.get("layer", "pooled")}"}}}},
]
"""
    )
    return path


def _path_of(settings: Mapping[str, Any]) -> str:
    return f', path = "{settings["data.path"]}"' if "data.path" in settings else ""


def _overrides(settings: Mapping[str, Any]) -> list[str]:
    return [part for name, value in settings.items() for part in ("--set", f"{name}={json.dumps(value)}")]
