"""Networks as people have them: trained, saved, evaluated and served alike, or rejected with a clear sentence."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.data.selection.features import outputs_of
from distill_worker.errors import ConfigError, RunError
from distill_worker.runs.preflight import Lesson, Run
from distill_worker.runs.rounds import SelectedSamples
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.train_student import train_student
from distill_worker.training.evaluate import count_correct
from shared.networks.draws import generator_states
from shared.weights import load_weights, weights_bytes
from teacher_service.models import TorchTeacher
from tests.endurance import ENDURANCE

N = 24
ROOT = Path(__file__).parents[3]
_HEAD = """
import random
from collections import OrderedDict
from dataclasses import dataclass
import numpy as np
import torch
from torch import nn
from torchvision.ops import StochasticDepth

@dataclass(slots=True)
class Slots:
    scores: torch.Tensor

class Body(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.flat, self.hidden, self.last = nn.Flatten(), nn.Linear(in_channels * 64, 16), nn.Linear(16, num_classes)

    def forward(self, images):
        return self.last(torch.relu(self.hidden(self.flat(images))))
"""
_WORKING = {
    "data class with slots": ("def forward(self, images): return Slots(super().forward(images))"),
    "initialised from the first images": (
        "def __init__(self, **a):\n        super().__init__(**a)\n"
        "        self.scale = nn.Parameter(torch.ones(16))\n"
        "        self.register_buffer('seen', torch.tensor(False))\n"
        "    def forward(self, images):\n"
        "        hidden = self.hidden(self.flat(images))\n"
        "        if not self.seen:\n"
        "            with torch.no_grad():\n"
        "                self.scale.copy_(1 / (hidden.std(dim=0, unbiased=False) + 1e-6)), self.seen.fill_(True)\n"
        "        return self.last(torch.relu(self.scale * hidden))"
    ),
    "tuple": "def forward(self, images): return super().forward(images), images",
    "list": "def forward(self, images): return [super().forward(images)]",
    "dict": "def forward(self, images): return {'features': images, 'logits': super().forward(images)}",
    "map of one place": "def forward(self, images): return super().forward(images)[:, :, None, None]",
    "several in training": (
        "def forward(self, images): return (super().forward(images),) * 2 if self.training else super().forward(images)"
    ),
    "frozen": ("def __init__(self, **a):\n        super().__init__(**a)\n        self.hidden.requires_grad_(False)"),
    "lazy": "def __init__(self, **a):\n        super().__init__(**a)\n        self.hidden = nn.LazyLinear(16)",
    "batch normalisation": (
        "def __init__(self, **a):\n        super().__init__(**a)\n"
        "        self.hidden = nn.Sequential(nn.LazyLinear(16), nn.LazyBatchNorm1d())"
    ),
    "in bfloat16": (
        "def __init__(self, **a):\n        super().__init__(**a)\n        self.bfloat16()\n"
        "    def forward(self, images): return super().forward(images.bfloat16())"
    ),
    "in double precision": (
        "def __init__(self, **a):\n        super().__init__(**a)\n        self.double()\n"
        "    def forward(self, images): return super().forward(images.double())"
    ),
}
_REJECTED = {
    "one class too many": (
        "def __init__(self, num_classes, in_channels): super().__init__(num_classes + 1, in_channels)",
        r"logits of shape \[1, 10\].*got \[1, 11\]",
    ),
    "all frozen": (
        "def __init__(self, **a):\n        super().__init__(**a)\n        self.requires_grad_(False)",
        "at least one trainable parameter",
    ),
    "other size": (
        "def __init__(self, **a):\n        super().__init__(**a)\n        self.hidden = nn.Linear(784, 16)",
        r"images of shape \[1, 8, 8\], got an error from it .RuntimeError",
    ),
    "buffer of the first step": (
        "def forward(self, images):\n"
        "        if self.training: self.register_buffer('mask', torch.ones(16))\n"
        "        return super().forward(images)",
        'to load its weights file into a new network, got .*"mask".*; make every parameter and buffer in __init__',
    ),
    "other outputs in training": (
        "def forward(self, images):\n"
        "        hidden = torch.relu(self.hidden(self.flat(images)))\n"
        "        return (hidden, self.last(hidden)) if self.training else self.last(hidden)",
        r"logits for 10 classes in training mode, .*\[8, 16\]",
    ),
    "drawn by a generator of its own": (
        "def __init__(self, **a):\n        super().__init__(**a)\n"
        "        self.scale = torch.from_numpy(np.random.default_rng().normal(size=16)).float()\n"
        "    def forward(self, images):\n"
        "        return self.last(self.scale * torch.relu(self.hidden(self.flat(images))))",
        "the same logits when it is loaded from its weights file, got others",
    ),
    "state in an attribute": (
        "scale = 1.0\n"
        "    def forward(self, images):\n"
        "        if self.training: self.scale *= 2\n"
        "        return self.scale * super().forward(images)",
        "the same logits when it is loaded .*; keep all that its logits depend on in parameters or buffers",
    ),
    "leaves in training": (
        "def forward(self, images): return exit('no GPU') if self.training else super().forward(images)",
        "SystemExit: no GPU",
    ),
    "map": (
        "def forward(self, images): return super().forward(images)[:, :, None, None].expand(-1, -1, 2, 2)",
        r"got torch.float32 \[1, 10, 2, 2\]",
    ),
}


def _own(folder: Path, body: str) -> str:
    """The name of a network whose class has this body."""
    (folder / "own.py").write_text(f"{_HEAD}\nclass Own(Body):\n    {body}\n")
    return f"{folder / 'own.py'}:Own"


def _config(folder: Path, network: str, **training: Any) -> RunConfig:
    document = {
        "data": {"name": "digits"},
        "student": {"network": network},
        "method": {"name": "kd"},
        "budget": {"n": N},
        "training": {"steps": 8, "batch_size": 8, "checkpoint_every": 3, "device": "cpu"} | training,
        "output": {"directory": str(folder / "run"), "cache": str(folder / "cache.sqlite")},
    }
    return parse_config(document, source="test")


def _dry_pass(config: RunConfig) -> int:
    """The size of the weights file that the training will write."""
    run = Run(config, lambda: SelectedSamples(Samples.of(config), 1, 0, None))
    return Lesson(run, {"logits": (10,)}, "t").weights_bytes


def _train(folder: Path, network: str, **training: Any) -> dict[str, Any]:
    config = _config(folder, network, **training)
    assert _dry_pass(config) > 0
    targets = 5 * torch.randn(N, 10, generator=torch.Generator().manual_seed(0))
    return train_student(config, Samples.of(config), {"logits": targets}, "t")


@pytest.mark.parametrize("kind", _WORKING)
def test_network_is_trained_evaluated_selected_with_and_served_alike(tmp_path: Path, kind: str) -> None:
    """The accuracy in the result, that of the file, and that of the answers of a service are one."""
    network = _own(tmp_path, _WORKING[kind])
    result = _train(tmp_path, network)
    weights = tmp_path / "run" / "student.safetensors"
    test = Samples.of(_config(tmp_path, network)).dataset.test
    card, loaded, fingerprint = load_weights(weights, trust_code=True)
    assert count_correct(loaded, test.images, test.needed_labels, mean=card.mean, std=card.std) == result["correct"]
    assert len(outputs_of(loaded, card, test.images)[0]) == len(test.images)
    teacher = TorchTeacher(weights, "cpu", trust_code=True)
    assert teacher.fingerprint == fingerprint
    answers = teacher.predict(test.images.numpy())
    assert int((answers.argmax(axis=1) == test.needed_labels.numpy()).sum()) == result["correct"]
    np.testing.assert_allclose(teacher.predict(test.images[:1].numpy()), answers[:1], rtol=1e-4, atol=1e-5)
    assert card.provenance["code"]


@pytest.mark.parametrize("kind", _REJECTED)
def test_network_that_cannot_learn_the_data_is_rejected_before_the_purchase(tmp_path: Path, kind: str) -> None:
    body, message = _REJECTED[kind]
    with pytest.raises(ConfigError, match=rf"^student\.network: expected .*{message}"):
        _dry_pass(_config(tmp_path, _own(tmp_path, body)))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def __init__(self, **a):\n        nn.Module.__init__(self)\n        self.last = nn.LazyConv2d(10, 8)\n"
         "    def forward(self, images): return self.last(images)", "ends in a linear layer"),
        ("def __init__(self, **a):\n        super().__init__(**a)\n        self.unused = nn.Linear(3, 3)",
         "'unused:input' takes no part"),
    ],
)  # fmt: skip
def test_network_that_its_strategy_cannot_select_with_is_rejected_in_the_first_round(
    tmp_path: Path, body: str, message: str
) -> None:
    """Not after the purchase, when a student selects for the first time."""
    network = _own(tmp_path, body)
    _train(tmp_path, network)
    config = _config(tmp_path / "in rounds", network)
    budget = config.budget.model_copy(update={"strategy": "badge", "rounds": 2})
    targets, samples = torch.zeros(N, 10), Samples.of(config)
    with pytest.raises(ConfigError, match=message):
        train_student(config.model_copy(update={"budget": budget}), samples, {"logits": targets}, "t")


def test_service_rejects_weights_of_one_class_too_many(tmp_path: Path) -> None:
    """As when the factory was edited after the training, so that tensors and names still fit."""
    _train(tmp_path, _own(tmp_path, _WORKING["tuple"]))
    _own(tmp_path, "def forward(self, images): return super().forward(images)[:, :9]")
    with pytest.raises(ValueError, match=r"logits for 10 classes, got an error .*got \[1, 9\].*correct the card"):
        TorchTeacher(tmp_path / "run" / "student.safetensors", "cpu", trust_code=True)


def test_fingerprint_follows_the_code_of_the_network(tmp_path: Path) -> None:
    """The same weights under other code are another teacher; under the first code again they are the first."""
    path = tmp_path / "run" / "student.safetensors"
    bodies = (_WORKING["tuple"], "def forward(self, images): return super().forward(images).flip(1)", _WORKING["tuple"])
    _train(tmp_path, _own(tmp_path, bodies[0]))
    fingerprints, logits = [], []
    for body in bodies:
        _own(tmp_path, body)
        teacher = TorchTeacher(path, "cpu", trust_code=True)
        fingerprints.append(teacher.fingerprint)
        logits.append(teacher.predict(np.zeros((1, 1, 8, 8), np.uint8)).tobytes())
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]
    assert logits[0] == logits[2] != logits[1]


def test_file_of_an_earlier_version_names_no_code_and_keeps_its_fingerprint(tmp_path: Path) -> None:
    name = _own(tmp_path, _WORKING["tuple"])
    _train(tmp_path, name)
    path = tmp_path / "run" / "student.safetensors"
    card, network, fingerprint = load_weights(path, trust_code=True)
    earlier = {key: value for key, value in card.provenance.items() if key != "code"}
    path.write_bytes(weights_bytes(network, card.model_copy(update={"provenance": earlier})))
    _own(tmp_path, "def forward(self, images): return super().forward(images).flip(1)")
    assert load_weights(path, trust_code=True)[2] == fingerprint


def test_network_file_beside_its_configuration_is_built_and_named_in_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another folder, too, where the file imports its neighbour; and the round's student is loaded again."""
    folder = tmp_path / "project"
    folder.mkdir()
    _own(folder, _WORKING["tuple"])
    (folder / "neighbour_of_own.py").write_text("from own import Own\n")
    (folder / "net.py").write_text("from neighbour_of_own import Own\n")
    monkeypatch.chdir(tmp_path)
    config = _config(folder, "net.py:Own")
    config = config.model_copy(
        update={"student": config.student.model_copy(update={"network_file": folder / "net.py"})}
    )
    targets = 5 * torch.randn(N, 10, generator=torch.Generator().manual_seed(0))
    train_student(config, Samples.of(config), {"logits": targets}, "t")
    weights = folder / "run" / "student.safetensors"
    card, _, fingerprint = load_weights(weights, trust_code=True, network=config.student.network_to_build)
    assert card.network == "net.py:Own"
    monkeypatch.chdir(folder)
    assert load_weights(weights, trust_code=True)[2] == fingerprint


_KILLED_RUN = """
import os, signal, sys
from pathlib import Path
from tests.distill_worker.runs import test_own_networks as own
from distill_worker.training.directory.run_directory import RunDirectory
save, saved = RunDirectory.save_checkpoint, []
def save_and_count(directory, state):
    save(directory, state)
    saved.append(state["step"])
    if len(saved) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
RunDirectory.save_checkpoint = save_and_count
own._train(Path(sys.argv[1]), sys.argv[2])
"""


_DROPOUT = """def __init__(self, **a):
        super().__init__(**a)
        self.dropout, self.depth = nn.Dropout(0.5), StochasticDepth(0.5, "row")

    def forward(self, images):
        hidden = self.dropout(torch.relu(self.hidden(self.flat(images))))
        return self.last(hidden + self.depth(hidden))
"""


def test_dropout_network_ends_with_the_same_bits_killed_or_not(tmp_path: Path) -> None:
    """A small network with what torchvision's draw; in an endurance run, one of torchvision itself."""
    network, ends = "torchvision:mobilenet_v3_small" if ENDURANCE else _own(tmp_path, _DROPOUT), []
    for name in ("whole", "again", "killed"):
        folder = tmp_path / name
        folder.mkdir()
        random.random()
        torch.rand(3)
        if name == "killed":
            command = [sys.executable, "-c", _KILLED_RUN, str(folder), network]
            assert subprocess.run(command, check=False, cwd=ROOT).returncode == -9
            assert (folder / "run" / "checkpoint.pt").exists()
        _train(folder, network)
        ends.append([(folder / "run" / file).read_bytes() for file in ("student.safetensors", "metrics.jsonl")])
    assert ends[0] == ends[1] == ends[2]


_DRAWING = """def __init__(self, **a):
        super().__init__(**a)
        with torch.no_grad():
            self.last.weight.mul_(random.random()).add_(torch.from_numpy(np.random.rand(16)).float())
        self.register_buffer("mask", torch.rand(16).round(), persistent=False)

    def forward(self, images): return self.last(self.mask * torch.relu(self.hidden(self.flat(images))))
"""


def test_weights_drawn_by_any_generator_come_from_the_seed(tmp_path: Path) -> None:
    """And a random buffer that the file lacks is drawn again the same when the file is loaded."""
    ends = []
    for index in range(2):
        folder = tmp_path / str(index)
        folder.mkdir()
        random.random()
        np.random.rand()
        name = _own(tmp_path, _DRAWING)
        result = _train(folder, name, seed=3)
        weights = folder / "run" / "student.safetensors"
        test = Samples.of(_config(folder, name)).dataset.test
        card, loaded, _ = load_weights(weights, trust_code=True)
        assert count_correct(loaded, test.images, test.needed_labels, mean=card.mean, std=card.std) == result["correct"]
        ends.append(weights.read_bytes())
    assert ends[0] == ends[1]


def test_all_global_generators_are_left_alone(tmp_path: Path) -> None:
    states = generator_states()
    _train(tmp_path, _own(tmp_path, _DRAWING))
    after = generator_states()
    assert torch.equal(after.pop("torch"), states.pop("torch"))
    assert after == states


_PRETRAINED = """def __init__(self, **a):
        super().__init__(**a)
        self.hidden.load_state_dict(torch.load({file!r}))
"""


def test_finished_run_is_another_run_when_a_file_that_the_factory_reads_has_changed(tmp_path: Path) -> None:
    """A directory that lacks this fact, because an earlier version wrote it, is returned as before."""
    weights = tmp_path / "backbone.pt"
    torch.save(torch.nn.Linear(64, 16).state_dict(), weights)
    name = _own(tmp_path, _PRETRAINED.format(file=str(weights)))
    result = _train(tmp_path, name)
    assert _train(tmp_path, name) == result
    torch.save(torch.nn.Linear(64, 16).state_dict(), weights)
    with pytest.raises(RunError, match=r"the first weights of student\.network have changed"):
        _train(tmp_path, name)
    stored = tmp_path / "run" / "run.json"
    content = json.loads(stored.read_text())
    del content["identity"]["first_weights"]
    stored.write_text(json.dumps(content))
    assert _train(tmp_path, name) == result
