"""The loop alone: order of batches, rate, logs, and going on where it was."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill_worker.config.run_identity import RunIdentity
from distill_worker.config.training_section import Training
from distill_worker.data.preprocessing import Preprocessing
from distill_worker.errors import ConfigError, RunError
from distill_worker.methods import Method
from distill_worker.methods.base import LOGITS
from distill_worker.methods.ckd import CKD
from distill_worker.methods.single_sample import CE, KD
from distill_worker.methods.terms import Batch, Objective, Setting
from distill_worker.methods.terms.base import probabilities_of
from distill_worker.training.directory.run_directory import RunDirectory
from distill_worker.training.loop import BestWeights, Progress, train
from distill_worker.training.schedule import cosine_rate
from distill_worker.training.training_set import TrainingSet
from shared.networks.draws import generator_states, set_generator_states

SAMPLES, CLASSES = 13, 3
ANY_RUN = RunIdentity({}, changed={})
PAPER = Training(protocol="paper", batch_size=4, patience_epochs=2, max_epochs=40, checkpoint_every=3)
PREPROCESSING = Preprocessing(mean=(0.5,), std=(0.5,), crop_padding=1, horizontal_flip=True)


class Probe(Objective):
    """An objective of the test's own."""

    def __init__(self, loss: Callable[[Batch], dict[str, Tensor]]) -> None:
        nn.Module.__init__(self)
        self.student_layers = ()
        self._mixing = None
        self._loss = loss

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """What the test says."""
        return self._loss(batch)


class Stopped(BaseException):
    """The run is over, whatever it was doing."""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[RunDirectory]:
    directory = RunDirectory(tmp_path / "run")
    with directory.opened(ANY_RUN):
        yield directory


def _network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 4, CLASSES))


def _data(*, targets: bool = True, validation: int = 0) -> TrainingSet:
    """Random images and targets, and labels in turn."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (SAMPLES + validation, 1, 4, 4), dtype=torch.uint8, generator=generator)
    labels = torch.arange(SAMPLES + validation) % CLASSES
    return TrainingSet(
        images=images[:SAMPLES],
        label_probabilities=probabilities_of(labels[:SAMPLES], CLASSES),
        labels=labels[:SAMPLES],
        preprocessing=PREPROCESSING,
        targets={LOGITS: torch.randn(SAMPLES, CLASSES, generator=generator)} if targets else {},
        validation=(images[SAMPLES:], labels[SAMPLES:]) if validation else None,
    )


def _objective(method: Method, data: TrainingSet) -> Objective:
    return Objective([method], Setting(CLASSES, 12, {LOGITS: (CLASSES,)}, data.targets))


def _metrics(directory: RunDirectory) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory.path / "metrics.jsonl").read_text().splitlines()]


def _bits(network: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in network.state_dict().items()}


def test_every_pass_takes_full_batches_of_distinct_samples(directory: RunDirectory) -> None:
    """Thirteen samples in batches of four: three batches a pass, one sample left out, each pass in another order."""
    data, seen = _data(), list[list[int]]()

    def remember(batch: Batch) -> dict[str, Tensor]:
        assert data.labels is not None
        assert batch.labels is not None
        assert torch.equal(batch.teacher[LOGITS], data.targets[LOGITS][batch.samples])
        assert torch.equal(batch.labels, data.labels[batch.samples])
        assert torch.equal(batch.label_probabilities, data.label_probabilities[batch.samples])
        seen.append(batch.samples.tolist())
        return {"loss": batch.student[LOGITS].square().mean()}

    train(_network(), Probe(remember), data, Training(steps=9, batch_size=4), directory)
    passes = [[*chain(*seen[start : start + 3])] for start in (0, 3, 6)]
    assert all(len(batch) == 4 for batch in seen)
    assert all(len(set(taken)) == 12 and set(taken) <= set(range(SAMPLES)) for taken in passes)
    assert passes[0] != passes[1] != passes[2]


def test_set_smaller_than_a_batch_is_one_batch(directory: RunDirectory) -> None:
    sizes = []

    def remember(batch: Batch) -> dict[str, Tensor]:
        sizes.append(len(set(batch.samples.tolist())))
        return {"loss": batch.student[LOGITS].square().mean()}

    train(_network(), Probe(remember), _data(), Training(steps=2, batch_size=64), directory)
    assert sizes == [SAMPLES, SAMPLES]


def test_step_is_sgd_with_momentum_and_decay(directory: RunDirectory) -> None:
    """Two steps on one parameter by hand: v = m v + g + d w, w -= rate v, on the loss 3 w."""

    class Bias(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))

        def forward(self, images: Tensor) -> Tensor:
            return self.value.expand(len(images), CLASSES)

    network = Bias()
    training = Training(steps=2, learning_rate=0.1, momentum=0.5, weight_decay=0.01)
    train(network, Probe(lambda batch: {"loss": 3 * batch.student[LOGITS].mean()}), _data(), training, directory)
    velocity = 3 + 0.01 * 1.0
    weight = 1.0 - 0.1 * velocity
    velocity = 0.5 * velocity + 3 + 0.01 * weight
    weight -= 0.1 * 0.5 * (1 + cos(pi / 2)) * velocity
    assert float(network.value.detach()) == pytest.approx(weight, rel=1e-12)


def test_metrics_name_every_term_and_the_last_step(directory: RunDirectory) -> None:
    told = list[tuple[int, float]]()
    training = Training(steps=101, learning_rate=0.1)
    data = _data()
    train(_network(), _objective(KD(), data), data, training, directory, lambda *seen: told.append(seen))
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
        with directory.opened(ANY_RUN):
            data = _data()
            train(network, _objective(method, data), data, Training(steps=7, batch_size=4, seed=seed), directory)
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
    networks, data = [_network() for _ in range(3)], _data()
    with whole.opened(ANY_RUN):
        train(networks[0], _objective(method, data), data, training, whole)
    with pytest.raises(Stopped), halves.opened(ANY_RUN):
        train(networks[1], _objective(method, data), data, training, halves, stop)
    with halves.opened(ANY_RUN):
        train(networks[2], _objective(method, data), data, training, halves)
    assert _bits(networks[2]) == _bits(networks[0])
    assert _metrics(halves) == _metrics(whole)


class _Drawing(nn.Module):
    """Dropout, stochastic depth by Python's generator and noise by NumPy's, also while it is evaluated."""

    def __init__(self) -> None:
        super().__init__()
        self.body = _network()
        self.dropout = nn.Dropout(0.3)

    def forward(self, images: Tensor) -> Tensor:
        images = images * (random.random() < 0.8) + float(np.random.normal(scale=0.1))
        logits: Tensor = self.body(nn.functional.dropout(self.dropout(images), 0.1))
        return logits


@pytest.mark.parametrize("protocol", ["paper", "steps"])
@pytest.mark.parametrize("stop_at", [None, 4, 7, 12])
def test_network_that_draws_ends_with_the_same_bits_whole_or_resumed(
    tmp_path: Path, protocol: str, stop_at: int | None
) -> None:
    """In other global states, with draws between the halves and in the progress, and other steps of checkpoints."""
    training = PAPER.model_copy(update={"protocol": protocol, "steps": 16, "max_epochs": 4, "patience_epochs": 9})
    data, ends = _data(validation=6), []

    def stop(step: int, _loss: float) -> None:
        _draw()
        if step == stop_at:
            raise Stopped

    runs: list[list[Progress]] = [[_ignore], [stop, _ignore]]
    for index, progresses in enumerate(runs):
        directory = RunDirectory(tmp_path / str(index))
        for progress in progresses:
            _draw()
            network, best = _Drawing(), None
            network.body = _network()
            with directory.opened(ANY_RUN), suppress(Stopped):
                every = training.model_copy(update={"checkpoint_every": 3 - index})
                best = train(network, _objective(CE(), data), data, every, directory, progress)
        ends.append((_bits(network), _metrics(directory), _described(best)))
    assert ends[0] == ends[1]


def _draw() -> tuple[float, float, float]:
    return torch.rand(()).item(), random.random(), float(np.random.normal())


def test_validation_does_not_shift_the_draws_of_the_training(tmp_path: Path) -> None:
    """With and without a validation, the same losses, even of a network that draws while it is evaluated."""
    losses = []
    for validation in (0, 6):
        directory, network = RunDirectory(tmp_path / str(validation)), _Drawing()
        data = _data(validation=6) if validation else replace(_data(validation=6), validation=None)
        with directory.opened(ANY_RUN):
            train(network, _objective(CE(), data), data, Training(steps=8, batch_size=4), directory)
        losses.append([line["loss"] for line in _metrics(directory)])
    assert losses[0] == losses[1]


def test_seed_decides_what_the_network_draws(tmp_path: Path) -> None:
    ends = []
    for index, seed in enumerate((0, 0, 1)):
        _draw()
        directory, network, data = RunDirectory(tmp_path / str(index)), _Drawing(), _data()
        with directory.opened(ANY_RUN):
            train(network, _objective(CE(), data), data, Training(steps=4, batch_size=13, seed=seed), directory)
        ends.append(_bits(network))
    assert ends[0] == ends[1] != ends[2]


@pytest.mark.parametrize("ends", ["well", "by an error"])
def test_callers_generators_are_as_before_when_training_ends(directory: RunDirectory, ends: str) -> None:
    def stop(_step: int, _loss: float) -> None:
        if ends != "well":
            raise Stopped

    states = generator_states()
    expected = _draw()
    set_generator_states(states)
    data = _data()
    with suppress(Stopped):
        train(_Drawing(), _objective(CE(), data), data, Training(steps=3), directory, stop)
    assert _draw() == expected


def test_checkpoint_of_an_earlier_version_has_no_draws_and_resumes(tmp_path: Path) -> None:
    """A network that draws nothing ends with the same bits."""
    training, data = Training(steps=12, batch_size=4, checkpoint_every=3), _data()

    def stop(step: int, _loss: float) -> None:
        if step == 5:
            raise Stopped

    whole, halves = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "halves")
    networks = [_network() for _ in range(3)]
    with whole.opened(ANY_RUN):
        train(networks[0], _objective(CE(), data), data, training, whole)
    with pytest.raises(Stopped), halves.opened(ANY_RUN):
        train(networks[1], _objective(CE(), data), data, training, halves, stop)
    with halves.opened(ANY_RUN):
        state = halves.load_checkpoint()
        assert state is not None
        del state["draws"]
        halves.save_checkpoint(state)
        train(networks[2], _objective(CE(), data), data, training, halves)
    assert _bits(networks[2]) == _bits(networks[0])


def test_checkpoint_that_is_another_file_is_named(directory: RunDirectory) -> None:
    directory.save_checkpoint({"a": 1})
    data = _data()
    with pytest.raises(RunError, match=r"checkpoint\.pt: expected a checkpoint of this run, got another file; delete"):
        train(_network(), _objective(KD(), data), data, Training(steps=2, batch_size=4), directory, _ignore)


def test_frozen_part_in_evaluation_mode_is_not_changed_by_training(directory: RunDirectory) -> None:
    """Neither its parameters, which weight decay would shrink, nor its statistics, also after a validation."""
    network, data = _network(), _data(validation=6)
    frozen = nn.Sequential(*list(network)[:2]).eval()
    frozen.requires_grad_(False)
    before, head = _bits(frozen), _bits(network.get_submodule("3"))
    train(network, _objective(CE(), data), data, Training(steps=9, batch_size=4), directory)
    assert _bits(frozen) == before
    assert _bits(network.get_submodule("3")) != head


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_ends_the_run_and_says_what_to_lower(directory: RunDirectory, bad: float) -> None:
    """And it is not logged as if it were a figure."""

    def diverge(batch: Batch) -> dict[str, Tensor]:
        size = batch.student[LOGITS].square().mean()
        return {"label": size, "kd": bad * size}

    with pytest.raises(ConfigError, match=r"step 1: .* finite loss, got (nan|inf).*kd.*lower training\.learning_rate"):
        train(_network(), Probe(diverge), _data(), Training(steps=3), directory)
    assert not (directory.path / "metrics.jsonl").exists()


def test_network_that_fails_in_training_ends_it_with_one_sentence(directory: RunDirectory) -> None:
    """Its code may raise anything, and the outputs were paid for."""

    def fail(_: Batch) -> dict[str, Tensor]:
        raise KeyError("mine")

    expected = (
        r"expected the network to take step 1, got KeyError: 'mine'\. The outputs that were bought stay in the cache"
    )
    with pytest.raises(ConfigError, match=expected):
        train(_network(), Probe(fail), _data(), Training(steps=3), directory)


def test_papers_protocol_drops_the_rate_three_times_and_ends(directory: RunDirectory) -> None:
    """Nothing is learned at a rate of almost nothing: the first epoch is best, and patience runs out every 2 epochs."""
    training = PAPER.model_copy(update={"learning_rate": 1e-12})
    network, data = _network(), _data(validation=6)
    best = train(network, _objective(CE(), data), data, training, directory)
    lines = _metrics(directory)
    assert [line["step"] for line in lines] == [4 * epoch for epoch in range(1, 10)], "an epoch is ceil(13 / 4) steps"
    rates = [line["learning_rate"] / 1e-12 for line in lines]
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3])
    assert best is not None
    assert (best.step, best.accuracy) == (4, lines[0]["validation_accuracy"])


def test_papers_protocol_returns_to_the_best_weights(directory: RunDirectory) -> None:
    """A step that does nothing but decay shows where a drop starts from: at the best weights again."""
    network, data = nn.Sequential(nn.Flatten(), nn.Linear(16, CLASSES)), _data(validation=6)
    starts: list[dict[str, bytes]] = []

    def watch(batch: Batch) -> dict[str, Tensor]:
        if batch.step % 4 == 1:
            starts.append(_bits(network))
        return {"loss": 0 * batch.student[LOGITS].sum()}

    training = PAPER.model_copy(update={"weight_decay": 0.5, "learning_rate": 1e-3, "momentum": 0.0})
    best = train(network, Probe(watch), data, training, directory)
    assert best is not None
    kept = {name: values.numpy().tobytes() for name, values in best.network.items()}
    assert best.step == 4
    assert [start == kept for start in starts] == [False, True, False, True, False, True, False, True, False]


def test_papers_protocol_ends_at_the_most_epochs(directory: RunDirectory) -> None:
    data = _data(validation=6)
    training = PAPER.model_copy(update={"max_epochs": 2, "patience_epochs": 50})
    train(_network(), _objective(CE(), data), data, training, directory)
    assert _metrics(directory)[-1]["step"] == 8


@pytest.mark.parametrize("protocol", ["paper", "steps"])
@pytest.mark.parametrize("stop_at", [4, 8, 12, 16, 20])
def test_validated_run_that_is_stopped_and_resumed_ends_with_the_same_bits(
    tmp_path: Path, protocol: str, stop_at: int
) -> None:
    """The best weights, the patience and the drops are in the checkpoint too."""
    training = PAPER.model_copy(update={"protocol": protocol, "steps": 24, "learning_rate": 0.3, "max_epochs": 30})
    _check_halves_equal_the_whole(tmp_path, training, stop_at)


@pytest.mark.parametrize("averaging", ["ema", "swa"])
def test_training_leaves_and_validates_the_average_and_is_not_changed_by_it(tmp_path: Path, averaging: str) -> None:
    """The losses are those of a training without it, and the best weights are averages too."""
    data, losses, ends = _data(validation=6), [], []
    for kind in ("none", averaging):
        directory, network = RunDirectory(tmp_path / kind), _network()
        training = Training.model_validate({"steps": 8, "batch_size": 4, "averaging": kind, "averaging_start": 0.5})
        with directory.opened(ANY_RUN):
            best = train(network, _objective(CE(), data), data, training, directory)
        losses.append([line["loss"] for line in _metrics(directory)])
        ends.append(_bits(network))
        assert best is not None
        if best.step == 8:
            assert _described(best) == (8, best.accuracy, _bits(network))
    assert losses[0] == losses[1]
    assert ends[0] != ends[1]


@pytest.mark.parametrize("averaging", ["ema", "swa"])
@pytest.mark.parametrize("stop_at", [2, 4, 7, 11])
def test_average_of_a_stopped_and_resumed_run_has_the_same_bits(tmp_path: Path, averaging: str, stop_at: int) -> None:
    """Stopped before and after the first averaged step; the best weights are the same, too."""
    settings = {"steps": 12, "batch_size": 4, "checkpoint_every": 3, "averaging": averaging, "averaging_start": 0.4}
    _check_halves_equal_the_whole(tmp_path, Training.model_validate(settings), stop_at)


def _ignore(_step: int, _loss: float) -> None:
    """Take no notice."""


def _described(best: BestWeights | None) -> tuple[int, float, dict[str, bytes]] | None:
    if best is None:
        return None
    return best.step, best.accuracy, {name: values.numpy().tobytes() for name, values in best.network.items()}


def test_half_trained_network_keeps_the_schedule_of_the_whole(directory: RunDirectory) -> None:
    training = Training(steps=20, stop_after_steps=10, batch_size=4)
    data = _data()
    train(_network(), _objective(KD(), data), data, training, directory)
    last = _metrics(directory)[-1]
    assert (last["step"], last["learning_rate"]) == (10, cosine_rate(0.05, 10, 20))


def _check_halves_equal_the_whole(folder: Path, training: Training, stop_at: int) -> None:
    """A validated training that is stopped after this step and resumed ends as one that is not: in every bit."""
    data = _data(validation=6)

    def stop(step: int, _loss: float) -> None:
        if step == stop_at:
            raise Stopped

    ends = []
    for name, progresses in (("whole", [_ignore]), ("halves", [stop, _ignore])):
        directory = RunDirectory(folder / name)
        for progress in progresses:
            network, best = _network(), None
            with directory.opened(ANY_RUN), suppress(Stopped):
                best = train(network, _objective(CE(), data), data, training, directory, progress)
        ends.append((_bits(network), _metrics(directory), _described(best)))
    assert ends[0] == ends[1]
