"""Distilling from Python: a student of any module, by the runs of the command line."""

import copy
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from distill_worker.api.bought import Bought
from distill_worker.api.buying import buy
from distill_worker.api.distilling import Report, distill
from distill_worker.api.loading import Model, load
from distill_worker.errors import ConfigError, PlanRefused, RunError
from shared.networks import build_network
from tests.distill_worker.cli.conftest import Command, command, facts_of
from tests.distill_worker.fake_teacher import FakeTeacher

Pixels = NDArray[np.uint8]
__all__ = ["command"]
SHORT: dict[str, Any] = {"training": {"steps": 6, "batch_size": 8}, "device": "cpu", "quiet": True}
KD: dict[str, Any] = {**SHORT, "method": "kd", "budget": {"holdout": 0}, "output": {"report": False}}


class Net(nn.Module):
    """A small network; its training is interrupted when it is called for the `stops`-th time in training mode."""

    stops: ClassVar[int | None] = None
    calls: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits."""
        if self.training:
            Net.calls += 1
            if Net.calls == Net.stops:
                raise KeyboardInterrupt
        logits: torch.Tensor = self.last(torch.relu(self.hidden(images.flatten(1))))
        return logits


@pytest.fixture
def net() -> Net:
    """With the same first weights in every test."""
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def bought(images: Pixels, url: str) -> Bought:
    """Outputs of twenty images."""
    return buy(images, url=url, n=20, cache="bought.sqlite", quiet=True)


def _same(one: nn.Module, other: nn.Module) -> bool:
    others = other.state_dict()
    return all(torch.equal(values, others[name]) for name, values in one.state_dict().items())


def test_copy_of_a_module_is_trained_on_what_was_bought(
    images: Pixels, net: Net, bought: Bought, teacher: FakeTeacher, here: Path
) -> None:
    """From the weights that it has. The method is auto, without labels; nothing is bought, and a page is written."""
    before = copy.deepcopy(net)
    student, report = distill(net, images, bought=bought, **SHORT)
    assert isinstance(student, Model)
    assert isinstance(report, Report)
    assert (teacher.paid, report.calls, report.n, student.training) == (20, 0, 20, False)
    assert _same(net, before)
    assert isinstance(student.network, Net)
    assert not _same(student.network, net)
    assert report.accuracy is None
    assert report.agreement == report.result["fidelity"]["agreement"]
    assert report.result["fidelity"]["measured_on"] == "cross-fitted"
    assert (report.result["network"], report.result["track"]) == ("given::Net", "unlabelled-pool")
    assert report.directory.parent == here / "runs"
    assert report.page == report.directory / "report.html"
    assert "given::Net" in report.page.read_text(encoding="utf-8")
    assert student.predict(images[0], top=1)[0].name in bought.class_names
    assert _same(load(report.directory, Net()), student)
    assert json.loads((report.directory / "command.json").read_text())["command"] == "distill_worker.distill()"


def test_training_starts_from_the_weights_of_the_module(net: Net, bought: Bought) -> None:
    """With a learning rate of almost 0, it ends there, too."""
    settings = {**KD, "training": {"steps": 2, "batch_size": 8, "learning_rate": 1e-12, "precision": "float32"}}
    student, _ = distill(net, bought=bought, **settings)
    for name, values in student.network.state_dict().items():
        torch.testing.assert_close(values, net.state_dict()[name], atol=1e-6, rtol=0)


def test_same_call_returns_the_finished_student(net: Net, bought: Bought, images: Pixels) -> None:
    """Another seed, other weights or other settings are another run, in a directory of its own."""
    student, report = distill(net, images, bought=bought, **KD)
    Net.calls = 0
    again, same = distill(copy.deepcopy(net), bought=bought, **KD)
    assert (Net.calls > 0, same.result["seconds"], same.directory) == (
        True, report.result["seconds"], report.directory,
    )  # fmt: skip
    assert _same(student, again)
    others = [
        distill(net, bought=bought, seed=1, **KD)[1],
        distill(Net(), bought=bought, **KD)[1],
        distill(net, bought=bought, **{**KD, "training": {"steps": 5, "batch_size": 8}})[1],
        distill(net, bought=bought, **{**KD, "method": "kd(temperature=2)"})[1],
    ]
    assert len({one.directory for one in [report, *others]}) == 5


def test_interrupted_training_goes_on(net: Net, bought: Bought) -> None:
    """From its last checkpoint, and ends with the same bits; a module of other weights is no such run."""
    settings = {**KD, "training": {"steps": 12, "batch_size": 8, "checkpoint_every": 2}}
    whole, _ = distill(net, bought=bought, directory="whole", **settings)
    Net.calls, Net.stops = 0, 9
    try:
        with pytest.raises(KeyboardInterrupt):
            distill(net, bought=bought, directory="run", **settings)
    finally:
        Net.stops = None
    assert Path("run/checkpoint.pt").exists()
    with pytest.raises(RunError, match=r"another run \(the first weights of student.network have changed"):
        distill(Net(), bought=bought, directory="run", **settings)
    Net.calls = 0
    student, report = distill(net, bought=bought, directory="run", **settings)
    assert report.directory == Path("run").absolute()
    assert Net.calls < 12
    assert _same(student, whole)
    _, fresh = distill(Net(), bought=bought, directory="run", fresh=True, **settings)
    assert fresh.directory == report.directory
    assert Path("run/before-1/result.json").exists()


def test_labels_and_test_images_give_the_accuracy(images: Pixels, net: Net, bought: Bought) -> None:
    """On the same samples, which were selected without labels; the student's own count is the oracle."""
    labels = torch.from_numpy(images.reshape(60, -1)[:, :10].astype(np.int64)).argmax(dim=1)
    labels[:10] = torch.arange(10)
    test = (images[:30], labels[:30])
    student, report = distill(net, images, bought=bought, labels=labels, test=test, **KD)
    with torch.no_grad():
        expected = (student(torch.from_numpy(test[0])).argmax(dim=1) == test[1]).float().mean().item()
    assert report.accuracy == pytest.approx(expected)
    assert (report.agreement, report.calls, report.n, report.result["test_samples"]) == (None, 0, 20, 30)
    _, unlabelled = distill(net, images, bought=bought, test=test, **{**KD, "budget": {}})
    assert unlabelled.accuracy is not None
    assert unlabelled.agreement is not None
    assert unlabelled.result["labels"] == "none"


def test_samples_that_were_held_out_are_those_of_the_purchase(url: str, teacher: FakeTeacher, net: Net) -> None:
    """Without labels, a student is compared on them; with labels, it learns from them, too. Nothing is bought again."""
    teacher.limit = 300
    many = np.random.default_rng(5).integers(0, 256, (260, 1, 8, 8), np.uint8)
    bought = buy(many, url=url, n=200, cache="bought.sqlite", quiet=True)
    settings = {**KD, "budget": {}}
    _, report = distill(net, many, bought=bought, **settings)
    fidelity = report.result["fidelity"]
    assert (fidelity["measured_on"], fidelity["samples"], report.n) == ("held-out", 50, 200)
    labels = np.arange(260) % 10
    settings["teacher"] = None
    _, labelled = distill(net, many, bought=bought, labels=labels, test=(many[:20], labels[:20]), **settings)
    assert (labelled.n, labelled.calls, teacher.paid) == (200, 0, 200)


def test_calls_are_bought_by_n(images: Pixels, url: str, teacher: FakeTeacher, command: Command) -> None:
    """In rounds, by auto. The command line goes on with the run: it has the result, and evaluates the student."""
    settings = {**SHORT, "training": {"steps": 4, "batch_size": 8}}
    student, report = distill("resnet8", images, url=url, n=20, cache="bought.sqlite", **settings)
    assert (teacher.paid, report.calls, report.result["calls"]) == (20, 20, 20)
    again = facts_of(command("run", report.directory / "run.toml", "--json"))
    assert again["seconds"] == report.result["seconds"]
    assert teacher.paid == 20
    assert _same(load(report.directory / "student.safetensors"), student)


def test_nothing_is_spent_without_consent(images: Pixels, net: Net, url: str, teacher: FakeTeacher) -> None:
    for arguments, error in (({"n": None}, ConfigError), ({"price_per_call": 1.0}, PlanRefused)):
        with pytest.raises(error):
            distill(net, images, **{"url": url, "n": 20, **SHORT, **arguments})
    assert teacher.paid == 0


def test_method_without_a_teacher_needs_none(images: Pixels, net: Net) -> None:
    labels = np.arange(60) % 10
    settings = {**KD, "method": "ce"}
    _, report = distill(net, images, n=20, labels=labels, test=(images[:20], labels[:20]), **settings)
    assert (report.calls, report.result["method"]) == (0, "ce")


def test_student_starts_from_weights_of_a_file(bought: Bought, here: Path) -> None:
    """They are part of the run, which says so; members of an ensemble start from them, too."""
    torch.manual_seed(1)
    torch.save(build_network("resnet8", num_classes=4, in_channels=1).state_dict(), here / "w.pth")
    settings = {**SHORT, "student": {"weights": "w.pth"}, "directory": "run"}
    _, report = distill("resnet8", bought=bought, **settings)
    assert report.result["student_weights"]["file"] == "w.pth"
    identity = json.loads((here / "run/run.json").read_text())["identity"]
    assert identity["student_weights"] == report.result["student_weights"]["digest"]
    torch.save(build_network("resnet8", num_classes=4, in_channels=1).state_dict(), here / "w.pth")
    with pytest.raises(RunError, match=r"the weights in student\.weights are others"):
        distill("resnet8", bought=bought, **settings)
    with pytest.raises(RunError, match=r"student_weights: .* in the directory, not set now"):
        distill("resnet8", bought=bought, **{**settings, "student": {}})


def test_module_whose_weights_were_trained_is_named_apart(bought: Bought, images: Pixels) -> None:
    """As its normalisations show, or as the caller says."""
    module = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 10))
    _, fresh = distill(module, bought=bought, **KD)
    module(torch.from_numpy(images).float())
    _, trained = distill(module, bought=bought, **KD)
    _, said = distill(module, bought=bought, pretrained=False, **KD)
    assert "student_weights" not in fresh.result
    assert trained.result["student_weights"]["module"] == "pretrained::Sequential"
    assert "student_weights" not in said.result
    with pytest.raises(ConfigError, match="pretrained: expected no value"):
        distill("resnet8", bought=bought, pretrained=True, **KD)


def test_student_may_see_images_in_another_size(bought: Bought, images: Pixels) -> None:
    student, _ = distill("resnet8", bought=bought, image_size=(12, 12), **KD)
    assert student.card.resize == (12, 12)
    assert student(torch.from_numpy(images)).shape == (60, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "http://127.0.0.1:1"}, "url: expected no value beside bought"),
        ({"n": 20}, "n: expected no value beside bought"),
        ({"labels": np.arange(60) % 10}, r"test: expected \(images, labels\)"),
        ({"images": np.zeros((60, 1, 8, 8), np.uint8)}, "images: expected those whose outputs were bought"),
        ({"trainig": {}}, r"distill\(\): trainig: unknown key; .*did you mean 'training'"),
        ({"training": {"stesp": 3}}, "training.stesp: unknown key; .*did you mean 'steps'"),
        ({"training": 3}, "training: expected a dict of settings, got int"),
        ({"seed": 1, "training": {"seed": 2}}, "training: expected seed once, got 1 and 2"),
        ({"method": "kdd"}, "expected one of .*got 'kdd'; did you mean 'kd'"),
        ({"method": "ckd"}, "expected one that shows which class is which, such as kd, got ckd alone"),
        ({"network": 3}, "network: expected a torch.nn.Module or the name of a network, got int"),
        ({"network": nn.Linear(3, 4)}, r"expected one that takes images of shape \[1, 8, 8\]"),
        ({"network": nn.Sequential(nn.Flatten(), nn.Linear(64, 9))}, r"logits of shape \[1, 10\].*got \[1, 9\]"),
        ({"network": "resnett8"}, "did you mean 'resnet8'"),
    ],
)
def test_wrong_argument_is_named(bought: Bought, net: Net, arguments: dict[str, Any], message: str) -> None:
    whole = {"network": net, "bought": bought, **KD, **arguments}
    with pytest.raises(ConfigError, match=message):
        distill(**whole)


def test_part_of_a_purchase_is_not_trained_on(images: Pixels, url: str, net: Net) -> None:
    part = buy(images, url=url, n=20, cache="bought.sqlite", max_calls=8, quiet=True)
    with pytest.raises(ConfigError, match=r"bought: expected all 20 samples, got 8; .*n=8"):
        distill(net, bought=part, **KD)
    whole = buy(images, url=url, n=8, cache="bought.sqlite", quiet=True)
    assert (whole.calls, distill(net, bought=whole, **KD)[1].n) == (0, 8)


def test_threads_of_torch_stay(net: Net, bought: Bought) -> None:
    before = torch.get_num_threads()
    distill(net, bought=bought, **{**KD, "training": {"steps": 2, "batch_size": 8, "threads": before + 1}})
    assert torch.get_num_threads() == before


def test_pictures_in_the_size_that_the_teacher_takes(
    here: Path, images: Pixels, url: str, teacher: FakeTeacher
) -> None:
    """`distill` needs neither the teacher nor its API key for what was bought with it."""
    (here / "photos").mkdir()
    for number, image in enumerate(images):
        size = (8, 8) if number % 2 else (16, 12)
        Image.fromarray(image[0]).resize(size).save(here / "photos" / f"{number:02}.png")
    bought = buy("photos", url=url, n=20, cache="bought.sqlite", api_key="secret", quiet=True)
    teacher.paths_read.clear()
    _, report = distill("resnet8", bought=bought, **KD)
    assert (report.n, report.calls, teacher.paid, teacher.paths_read) == (20, 0, 20, [])
    _, same = distill("resnet8", "photos", bought=bought, **KD)
    assert same.directory == report.directory
    with pytest.raises(ConfigError, match="whose outputs were bought, got"):
        distill("resnet8", here, bought=bought, **KD)
