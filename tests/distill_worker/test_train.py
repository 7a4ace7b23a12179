"""The loop alone: order of batches, rate, logs, and going on where it was."""

import json
from collections.abc import Iterator
from itertools import chain
from math import cos, pi
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill_worker.config import CE, CKD, KD, Method, Training
from distill_worker.errors import RunError
from distill_worker.methods import objective
from distill_worker.run_directory import RunDirectory
from distill_worker.train import TrainingSet, cosine_rate, train

SAMPLES, CLASSES = 13, 3


class Stopped(BaseException):
    """The run is over, whatever it was doing."""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[RunDirectory]:
    directory = RunDirectory(tmp_path / "run")
    with directory.opened({}):
        yield directory


def _network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 4, CLASSES))


def _data(*, targets: bool = True) -> TrainingSet:
    """Sample i has target (i, i, i) + noise, so that a misaligned target shows."""
    generator = torch.Generator().manual_seed(0)
    return TrainingSet(
        images=torch.randint(0, 256, (SAMPLES, 1, 4, 4), dtype=torch.uint8, generator=generator),
        labels=torch.arange(SAMPLES) % CLASSES,
        targets=torch.randn(SAMPLES, CLASSES, generator=generator) if targets else None,
        mean=(0.5,),
        std=(0.5,),
        crop_padding=1,
        horizontal_flip=True,
    )


def _metrics(directory: RunDirectory) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory.path / "metrics.jsonl").read_text().splitlines()]


def _bits(network: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in network.state_dict().items()}


def test_every_pass_takes_full_batches_of_distinct_samples(directory: RunDirectory) -> None:
    """Thirteen samples in batches of four: three batches a pass, one sample left out, each pass in another order."""
    data, seen = _data(), list[list[int]]()
    data = TrainingSet(**{**vars(data), "labels": torch.arange(SAMPLES)})

    def remember(student: Tensor, teacher: Tensor | None, labels: Tensor, _: torch.Generator) -> dict[str, Tensor]:
        assert data.targets is not None
        assert teacher is not None
        assert torch.equal(teacher, data.targets[labels])
        seen.append(labels.tolist())
        return {"loss": student.square().mean()}

    train(_network(), data, remember, Training(steps=9, batch_size=4), directory)
    passes = [[*chain(*seen[start : start + 3])] for start in (0, 3, 6)]
    assert all(len(batch) == 4 for batch in seen)
    assert all(len(set(taken)) == 12 and set(taken) <= set(range(SAMPLES)) for taken in passes)
    assert passes[0] != passes[1] != passes[2]


def test_set_smaller_than_a_batch_is_one_batch(directory: RunDirectory) -> None:
    sizes = []

    def remember(student: Tensor, _t: Tensor | None, labels: Tensor, _: torch.Generator) -> dict[str, Tensor]:
        sizes.append(len(set(labels.tolist())))
        return {"loss": student.square().mean()}

    data = TrainingSet(**{**vars(_data()), "labels": torch.arange(SAMPLES)})
    train(_network(), data, remember, Training(steps=2, batch_size=64), directory)
    assert sizes == [SAMPLES, SAMPLES]


def test_rate_falls_on_a_cosine_from_the_first_step() -> None:
    assert cosine_rate(0.4, 1, 10) == 0.4
    assert cosine_rate(0.4, 6, 10) == pytest.approx(0.2)
    assert cosine_rate(0.4, 10, 10) == pytest.approx(0.2 * (1 + cos(0.9 * pi)))
    assert cosine_rate(0.4, 1, 1) == 0.4


def test_step_is_sgd_with_momentum_and_decay(directory: RunDirectory) -> None:
    """Two steps on one parameter by hand: v = m v + g + d w, w -= rate v, on the loss 3 w."""

    class Bias(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))

        def forward(self, images: Tensor) -> Tensor:
            return self.value.expand(len(images), 1)

    network = Bias()
    training = Training(steps=2, learning_rate=0.1, momentum=0.5, weight_decay=0.01)
    train(network, _data(), lambda student, *_: {"loss": 3 * student.mean()}, training, directory)
    velocity = 3 + 0.01 * 1.0
    weight = 1.0 - 0.1 * velocity
    velocity = 0.5 * velocity + 3 + 0.01 * weight
    weight -= 0.1 * 0.5 * (1 + cos(pi / 2)) * velocity
    assert float(network.value.detach()) == pytest.approx(weight, rel=1e-12)


def test_metrics_name_every_term_and_the_last_step(directory: RunDirectory) -> None:
    told = list[tuple[int, float]]()
    training = Training(steps=101, learning_rate=0.1)
    train(_network(), _data(), objective(KD()), training, directory, lambda step, loss: told.append((step, loss)))
    lines = _metrics(directory)
    assert [line["step"] for line in lines] == [*range(2, 101, 2), 101]
    assert all(line["loss"] == pytest.approx(line["label"] + line["kd"]) for line in lines)
    assert lines[0]["learning_rate"] == cosine_rate(0.1, 2, 101)
    assert told == [(line["step"], line["loss"]) for line in lines]


@pytest.mark.parametrize("method", [CE(), KD(), CKD(), CKD(pairing="drawn", k=3, comparisons=8)])
def test_same_seed_gives_the_same_bits_and_another_does_not(tmp_path: Path, method: Method) -> None:
    """Whatever the global random state is."""
    ends = []
    for index, seed in enumerate((0, 0, 1)):
        torch.manual_seed(index)
        network, directory = _network(), RunDirectory(tmp_path / str(index))
        with directory.opened({}):
            train(network, _data(), objective(method), Training(steps=7, batch_size=4, seed=seed), directory)
        ends.append((_bits(network), (directory.path / "metrics.jsonl").read_bytes()))
    assert ends[0] == ends[1]
    assert ends[0] != ends[2]


@pytest.mark.parametrize("stop_at", [2, 3, 4, 5, 11])
@pytest.mark.parametrize("method", [CKD(), CKD(pairing="drawn", k=3, comparisons=8)])
def test_stopped_and_resumed_run_ends_with_the_same_bits(tmp_path: Path, method: Method, stop_at: int) -> None:
    """Stopped before, at and after checkpoints (every third step), in the middle of a pass and of an epoch's end."""
    training = Training(steps=12, batch_size=4, checkpoint_every=3)

    def stop(step: int, _loss: float) -> None:
        if step == stop_at:
            raise Stopped

    whole, halves = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "halves")
    networks = [_network() for _ in range(3)]
    with whole.opened({}):
        train(networks[0], _data(), objective(method), training, whole)
    with pytest.raises(Stopped), halves.opened({}):
        train(networks[1], _data(), objective(method), training, halves, stop)
    with halves.opened({}):
        train(networks[2], _data(), objective(method), training, halves)
    assert _bits(networks[2]) == _bits(networks[0])
    assert _metrics(halves) == _metrics(whole)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_ends_the_run_and_says_what_to_lower(directory: RunDirectory, bad: float) -> None:
    """And it is not logged as if it were a figure."""

    def diverge(student: Tensor, *_: Any) -> dict[str, Tensor]:
        return {"label": student.square().mean(), "kd": bad * student.square().mean()}

    with pytest.raises(RunError, match=r"step 1: the loss is (nan|inf).*kd.*lower training\.learning_rate"):
        train(_network(), _data(), diverge, Training(steps=3), directory)
    assert not (directory.path / "metrics.jsonl").exists()


@pytest.mark.parametrize("method", [KD(), CKD()])
def test_methods_with_a_teacher_refuse_to_train_without_its_outputs(directory: RunDirectory, method: Method) -> None:
    with pytest.raises(ValueError, match="teacher outputs"):
        train(_network(), _data(targets=False), objective(method), Training(steps=1), directory)
