"""A teacher whose classes are in another order than those of the data, from its metadata to the student's accuracy."""

import json
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distill_worker.cache import Cache
from distill_worker.cache.exchange.export_import import export, import_file
from distill_worker.cli.command import main
from shared.networks import build_network
from shared.weights import WeightsCard, load_weights, weights_bytes
from tests.end_to_end.processes import RunningService

NAMES = ("ant", "bee", "cow")
LEVELS = {"ant": 40, "bee": 120, "cow": 200}
"""The brightness of each animal."""
N = 60
_NETWORK = """
import torch

class Brightness(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.levels = torch.nn.Parameter(torch.zeros(classes))

    def forward(self, images):
        return -200 * (images.mean((1, 2, 3))[:, None] - self.levels) ** 2

def network(num_classes, in_channels):
    return Brightness(num_classes)
"""

Worker = Callable[..., Any]
Serve = Callable[..., RunningService]


def _write_data(folder: Path, names: Sequence[str] = NAMES) -> Path:
    """Grey images, whose brightness is that of their animal; classes are numbered in the order of the names."""
    draw = np.random.default_rng(0)
    arrays: dict[str, Any] = {"class_names": np.array(names)}
    for split, samples in (("train", 120), ("test", 30)):
        labels = np.arange(samples) % len(names)
        levels = np.array([LEVELS[names[label]] for label in labels.tolist()])[:, None, None]
        arrays[f"{split}_images"] = (levels + draw.integers(-20, 21, (samples, 8, 8))).astype(np.uint8)
        arrays[f"{split}_labels"] = labels
    path = folder / f"{'-'.join(names)}.npz"
    np.savez(path, **arrays)
    return path


def _write_teacher(folder: Path, order: Sequence[str], names: Sequence[str]) -> Path:
    """A network that is never wrong, whose outputs are in one order, and which names them in this or another one."""
    code = folder / "brightness.py"
    code.write_text(_NETWORK)
    network = build_network(f"{code}:network", num_classes=3, in_channels=1)
    network.load_state_dict({"levels": torch.tensor([LEVELS[name] / 255 for name in order])})
    card = WeightsCard(
        network=f"{code}:network",
        num_classes=3,
        in_channels=1,
        image_size=(8, 8),
        mean=(0.0,),
        std=(1.0,),
        class_names=tuple(names),
        provenance={"data": "npz"},
    )
    path = folder / "teacher.safetensors"
    path.write_bytes(weights_bytes(network, card))
    return path


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a teacher with its outputs in one order, and with names in the same one unless others are given."""
    services: list[RunningService] = []

    def start(order: Sequence[str], names: Sequence[str] | None = None) -> RunningService:
        weights = _write_teacher(tmp_path, order, names or order)
        services.append(RunningService(weights, tmp_path / "service", {"TEACHER_TRUST_CODE": "true"}))
        services[-1].start()
        return services[-1]

    yield start
    for service in services:
        service.kill()


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Worker:
    """Runs a command on the configuration, or on another file; what it printed. Its exit status is 0 unless `fails`."""
    config = tmp_path / "run.toml"
    config.write_text(
        f"""
data = {{name = "npz", path = "{_write_data(tmp_path)}"}}
student.network = "resnet8"
method = {{name = "kd", label_weight = 0}}
budget.n = {N}
training = {{steps = 40, batch_size = 16, device = "cpu"}}
teacher = {{give_up_after_seconds = 0, request_size = 4, concurrency = 1}}
output = {{directory = "{tmp_path}/run", cache = "{tmp_path}/cache.sqlite"}}
"""
    )

    def run(
        command: str,
        *options: str,
        of: Path = config,
        service: RunningService | None = None,
        fails: bool = False,
    ) -> str:
        if service is not None:
            monkeypatch.setenv("TEACHER_URL", service.url)
        monkeypatch.setattr(sys, "argv", ["distill-worker", command, str(of), *options])
        try:
            main()
            status: object = 0
        except SystemExit as exited:
            status = exited.code or 0
        out, err = capsys.readouterr()
        assert (status != 0) == fails, err
        return out + err

    return run


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> Callable[[RunningService], str]:
    """Makes an API key for all commands."""

    def make(service: RunningService) -> str:
        token = service.new_key("key", 1000).token
        monkeypatch.setenv("TEACHER_API_KEY", token)
        return token

    return make


def _write_comparison(folder: Path) -> Path:
    """A comparison of two methods on the samples of the run."""
    path = folder / "compare.toml"
    path.write_text(
        f"""
data = {{name = "npz", path = "{_write_data(folder)}"}}
student.network = "resnet8"
training = {{steps = 1, batch_size = 16, device = "cpu"}}
[compare]
directory = "{folder}/compare"
cache = "{folder}/cache.sqlite"
n = [{N}]
seeds = 1
methods = [{{label = "kd", method = {{name = "kd"}}}}, {{label = "dkd", method = {{name = "dkd"}}}}]
"""
    )
    return path


def _class_order(folder: Path) -> object:
    return json.loads((folder / "run.json").read_text())["identity"].get("class_order")


def test_another_order_is_mapped_by_name(
    tmp_path: Path, serve: Serve, worker: Worker, key: Callable[[RunningService], str]
) -> None:
    """A student without labels learns what the teacher knows; `plan`, `train` and an exported file map alike."""
    service = serve(("cow", "ant", "bee"))
    token = key(service)
    for command in ("plan", "fetch", "run", "train"):
        printed = worker(command, *(["--yes"] if command in ("fetch", "run") else []), service=service)
        assert "data: the teacher lists the same classes in another order; its outputs are mapped by name" in printed
    assert service.quota(token)["used"] == N
    assert _class_order(tmp_path / "run") == [1, 2, 0]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["accuracy"] > 0.6, "unmapped: below 0.4"
    with Cache(tmp_path / "cache.sqlite") as cache:
        (owner,) = cache.teachers()
        assert cache.class_names(owner) == ("cow", "ant", "bee")


def test_teacher_in_the_order_of_the_data_is_not_mapped(
    tmp_path: Path, serve: Serve, worker: Worker, key: Callable[[RunningService], str]
) -> None:
    service = serve(NAMES)
    key(service)
    printed = worker("run", "--yes", "--set", "training.steps=1", service=service)
    assert "another order" not in printed
    assert _class_order(tmp_path / "run") is None


@pytest.mark.parametrize("command", ["plan", "fetch", "run"])
def test_other_names_are_an_error_before_a_call_is_spent_and_a_table_maps_them(
    serve: Serve, worker: Worker, key: Callable[[RunningService], str], command: str
) -> None:
    service = serve(("cow", "ant", "bee"), ("Kuh", "Ameise", "bee"))
    token = key(service)
    printed = worker(command, service=service, fails=True)
    assert "expected the classes of the teacher, 'Kuh', 'Ameise', 'bee', got 'ant', 'bee', 'cow'" in printed
    assert "[data.classes]" in printed
    assert service.quota(token)["used"] == 0
    table = ("--set", "data.classes.cow=Kuh", "--set", "data.classes.ant=Ameise", "--set", "budget.n=16")
    spends = () if command == "plan" else ("--yes",)
    assert "mapped by name" in worker(command, *table, *spends, service=service)


def test_teacher_that_disagrees_with_the_labels_stops_the_purchase(
    tmp_path: Path, serve: Serve, worker: Worker, key: Callable[[RunningService], str]
) -> None:
    """Its names are those of the data, its outputs are not. The rest is bought once its true order is configured."""
    service = serve(("cow", "ant", "bee"), NAMES)
    token = key(service)
    printed = worker("fetch", "--yes", service=service, fails=True)
    assert "more often than by chance (1 of 3 samples), got it for 0 of 16. " in printed
    assert "teacher.expect_agreement = false" in printed
    spent = service.quota(token)["used"]
    assert spent == 16, "requests of 4 samples, one by one"

    for command in ("plan", "fetch", "run"):
        printed = worker(command, service=service, fails=True)
        assert "got it for 0 of 16" in printed
        assert "Nothing was spent now" in printed
    assert service.quota(token)["used"] == spent

    order = ("--set", 'teacher.class_names=["cow", "ant", "bee"]')
    assert "mapped by name" in worker("run", "--yes", *order, service=service)
    assert service.quota(token)["used"] == N
    assert _class_order(tmp_path / "run") == [1, 2, 0]


def test_training_on_outputs_that_disagree_with_the_labels_warns(
    tmp_path: Path, serve: Serve, worker: Worker, key: Callable[[RunningService], str]
) -> None:
    """All are in the cache, so nothing can be saved: an earlier version bought them, or they were imported."""
    service = serve(("cow", "ant", "bee"), NAMES)
    key(service)
    worker("fetch", "--yes", "--set", "teacher.expect_agreement=false", service=service)
    assert "warning: teacher: expected its likeliest class" in worker("train", "--set", "training.steps=1")
    printed = worker("run", "--set", f'output.directory="{tmp_path}/other"', "--set", "training.steps=1")
    assert "warning: teacher: expected its likeliest class" in printed


def test_plan_reads_the_names_that_an_earlier_version_did_not_store(
    tmp_path: Path, serve: Serve, worker: Worker, key: Callable[[RunningService], str]
) -> None:
    service = serve(("cow", "ant", "bee"))
    key(service)
    worker("fetch", "--yes", service=service)
    with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as connection, connection:
        connection.execute("DELETE FROM class_names")
    elsewhere = ("--set", f'output.directory="{tmp_path}/other"', "--set", "training.steps=1")
    assert "mapped by name" not in worker("train", *elsewhere)
    worker("plan", service=service)
    assert "mapped by name" in worker("train", "--set", "training.steps=1")


def test_imported_outputs_and_those_of_a_comparison_are_mapped(
    tmp_path: Path, serve: Serve, worker: Worker, key: Callable[[RunningService], str]
) -> None:
    """The students of a comparison are trained in processes of their own; another team trains on an exported file."""
    service = serve(("cow", "ant", "bee"))
    token = key(service)
    comparison = _write_comparison(tmp_path)
    assert "mapped by name" in worker("compare", "--yes", of=comparison, service=service)
    assert service.quota(token)["used"] == N
    assert _class_order(tmp_path / "compare" / "students" / f"kd-n{N}-seed0") == [1, 2, 0]

    service.kill()
    exported = tmp_path / "bought.safetensors"
    with Cache(tmp_path / "cache.sqlite") as cache:
        export(cache, exported)
    with Cache(tmp_path / "other.sqlite") as cache:
        import_file(cache, exported)
    other = ("--set", "training.steps=1", "--set", f'output.cache="{tmp_path}/other.sqlite"')
    assert "mapped by name" in worker("train", *other)
    assert _class_order(tmp_path / "run") == [1, 2, 0]


def test_teacher_may_disagree_if_the_configuration_says_so(
    serve: Serve, worker: Worker, key: Callable[[RunningService], str]
) -> None:
    service = serve(("cow", "ant", "bee"), NAMES)
    token = key(service)
    worker("fetch", "--yes", "--set", "teacher.expect_agreement=false", service=service)
    assert service.quota(token)["used"] == N


def test_comparison_on_cached_outputs_warns_once_of_disagreement(
    tmp_path: Path, serve: Serve, worker: Worker, key: Callable[[RunningService], str]
) -> None:
    service = serve(("cow", "ant", "bee"), NAMES)
    token = key(service)
    worker("fetch", "--yes", "--set", "teacher.expect_agreement=false", service=service)
    printed = worker("compare", "--yes", of=_write_comparison(tmp_path), service=service)
    assert printed.count("warning: teacher: expected its likeliest class to be the data's label") == 1
    assert service.quota(token)["used"] == N


def test_label_noise_of_the_run_is_no_disagreement(
    serve: Serve, worker: Worker, key: Callable[[RunningService], str]
) -> None:
    """The teacher is compared with the labels of the data set, whatever the run makes of them."""
    service = serve(NAMES)
    token = key(service)
    worker("fetch", "--yes", "--set", "corruption.label_noise.rate=1.0", service=service)
    assert service.quota(token)["used"] == N


@pytest.mark.parametrize("names", [("cow", "ant", "bee"), ("ant", "bee", "cow")])
def test_evaluate_maps_by_name(tmp_path: Path, worker: Worker, names: tuple[str, ...]) -> None:
    weights = _write_teacher(tmp_path, names, names)
    printed = worker("evaluate", "--path", str(_write_data(tmp_path)), "--trust-code", of=weights)
    assert "100.00%, 30 of 30" in printed
    assert ("mapped by name" in printed) == (names != NAMES)


def test_evaluate_rejects_other_names(tmp_path: Path, worker: Worker) -> None:
    weights = _write_teacher(tmp_path, NAMES, ("ant", "bee", "calf"))
    printed = worker("evaluate", "--path", str(_write_data(tmp_path)), "--trust-code", of=weights, fails=True)
    expected = "expected the classes of the network, 'ant', 'bee', 'calf', got 'ant', 'bee', 'cow' in the data set"
    assert expected in printed


def test_images_without_labels_have_the_classes_of_their_teacher(
    tmp_path: Path, serve: Serve, worker: Worker, key: Callable[[RunningService], str]
) -> None:
    """They are bought once; then neither a training nor a page needs the teacher."""
    service = serve(("cow", "ant", "bee"))
    token = key(service)
    with np.load(_write_data(tmp_path)) as arrays:
        np.savez(tmp_path / "images.npz", images=arrays["train_images"])
    unlabelled = ("--set", f"data.path={tmp_path}/images.npz", "--set", "data.labels=none")
    shown = worker("run", *unlabelled, service=service)
    assert (
        "120 images without labels; the student learns from the teacher alone, and its classes are 'cow', 'ant'"
        in shown
    )
    assert service.quota(token)["used"] == N
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["calls"], result["accuracy"], result["fidelity"]["samples"]) == (N, None, N)
    service.kill()
    worker("train", *unlabelled, "--fresh")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["fidelity"] == result["fidelity"]
    card, _, _ = load_weights(tmp_path / "run" / "student.safetensors")
    assert card.class_names == ("cow", "ant", "bee")
    assert "of the teacher" in worker(
        "report", "--path", f"{tmp_path}/images.npz", "--format", "markdown", of=tmp_path / "run"
    )
