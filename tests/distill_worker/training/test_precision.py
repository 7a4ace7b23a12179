"""Half precision is for the student's passes alone, is as reproducible as float32, and compiled code agrees."""

import json
import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill_worker.config.run_identity import RunIdentity
from distill_worker.config.training_section import Training
from distill_worker.data.preprocessing import Preprocessing
from distill_worker.errors import ConfigError
from distill_worker.methods.base import LOGITS
from distill_worker.methods.ckd import CKD
from distill_worker.methods.terms import Objective, Setting
from distill_worker.methods.terms.base import probabilities_of
from distill_worker.runs.student import placed
from distill_worker.training.directory.run_directory import RunDirectory
from distill_worker.training.loop import train
from distill_worker.training.precision import (
    StudentPass,
    automatic_format,
    automatic_precision,
    begin_momentum,
    check_possible,
    loss_scaler,
)
from distill_worker.training.training_set import TrainingSet
from shared.networks.taps import forward_with_features
from tests.distill_worker.training.ranks.threads import torchrun

SAMPLES, CLASSES = 12, 3
CPU = torch.device("cpu")
HALF = ["bfloat16", "float16"]
LAYERS = ("1", "4:input")
COMPILED_TOLERANCE = 1e-4
"""Of a loss: compiled code sums in another order, and each step carries the difference on. See docs/precision.md."""


class Stopped(BaseException):
    """The run is over, wherever it was."""


def _network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4, CLASSES))


def _images(samples: int = SAMPLES) -> Tensor:
    return torch.randn(samples, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def _train(folder: Path, training: Training, stop_at: int | None = None) -> tuple[nn.Module, list[dict[str, Any]]]:
    """Train in a directory, from its checkpoint if it has one; the network, and the lines of the metrics."""
    generator, network, directory = torch.Generator().manual_seed(0), _network(), RunDirectory(folder)
    labels = torch.arange(SAMPLES) % CLASSES
    data = TrainingSet(
        images=torch.randint(0, 256, (SAMPLES, 1, 4, 4), dtype=torch.uint8, generator=generator),
        label_probabilities=probabilities_of(labels, CLASSES),
        labels=labels,
        preprocessing=Preprocessing(mean=(0.5,), std=(0.5,), crop_padding=1, horizontal_flip=True),
        targets={LOGITS: torch.randn(SAMPLES, CLASSES, generator=generator)},
    )
    objective = Objective([CKD()], Setting(CLASSES, 12, {LOGITS: (CLASSES,)}, data.targets))

    def stop(step: int, _loss: float) -> None:
        if step == stop_at:
            raise Stopped

    with directory.opened(RunIdentity({}, changed={})):
        train(network, objective, data, training, directory, stop)
    return network, [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _bits(network: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize(
    ("cpu", "avx512_bf16", "amx", "mkldnn", "precision", "memory_format"),
    [
        ("AMD EPYC", True, False, True, "bfloat16", "channels_last"),
        ("Intel Xeon", True, False, True, "float32", "channels_last"),
        ("Intel Xeon", True, True, True, "bfloat16", "channels_last"),
        (None, True, False, True, "bfloat16", "channels_last"),
        ("AMD EPYC", False, True, True, "bfloat16", "channels_last"),
        ("AMD EPYC", False, False, True, "float32", "channels_last"),
        ("AMD EPYC", True, True, False, "float32", "contiguous"),
    ],
)
def test_auto_is_bfloat16_on_a_cpu_whose_instructions_for_it_are_faster(
    cpu: str | None,
    avx512_bf16: bool,
    amx: bool,
    mkldnn: bool,
    precision: str,
    memory_format: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And where torch uses them, by oneDNN. Some versions of torch do not know whose CPU it is."""
    capabilities = {} if cpu is None else {"cpu_name": cpu}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: mkldnn)
    assert (automatic_precision(CPU), automatic_format(precision, CPU)) == (precision, memory_format)


def test_float32_stays_contiguous_on_a_gpu() -> None:
    assert automatic_format("float32", torch.device("cuda")) == "contiguous"
    assert automatic_format("bfloat16", torch.device("cuda")) == "channels_last"


@pytest.mark.parametrize("precision", HALF)
def test_losses_get_float32_that_was_computed_in_half_precision(precision: str) -> None:
    """Nearly the values of float32, at the distance of that type's rounding."""
    network, images = _network(), _images()
    whole, features = StudentPass(network, LAYERS, Training(precision="float32"), CPU)(images)
    half, half_features = StudentPass(network, LAYERS, Training.model_validate({"precision": precision}), CPU)(images)
    rounding = torch.finfo(getattr(torch, precision)).eps
    for exact, rounded in [(whole, half), *((features[layer], half_features[layer]) for layer in LAYERS)]:
        assert rounded.dtype == torch.float32
        assert 0 < float((rounded - exact).abs().max().detach()) < 8 * rounding * float(exact.abs().max().detach())


def test_float32_is_the_plain_forward_pass() -> None:
    plain, features = forward_with_features(_network(), _images(), LAYERS)
    logits, taken = StudentPass(_network(), LAYERS, Training(precision="float32"), CPU)(_images())
    assert torch.equal(logits, plain)
    assert all(torch.equal(taken[layer], features[layer]) for layer in LAYERS)


@pytest.mark.parametrize("precision", HALF)
def test_weights_gradients_statistics_and_momentum_stay_float32(precision: str, tmp_path: Path) -> None:
    training = Training.model_validate({"precision": precision, "steps": 4, "batch_size": 4, "checkpoint_every": 3})
    network, _ = _train(tmp_path / "whole", training)
    with pytest.raises(Stopped):
        _train(tmp_path / "stopped", training, stop_at=4)
    state = torch.load(tmp_path / "stopped" / "checkpoint.pt", weights_only=True)
    momentum = [values["momentum_buffer"] for values in state["optimizer"]["state"].values()]
    tensors = [*network.state_dict().values(), *(one.grad for one in network.parameters()), *momentum]
    assert {one.dtype for one in tensors if one is not None} == {torch.float32, torch.int64}


@pytest.mark.parametrize("precision", HALF)
@pytest.mark.parametrize("stop_at", [2, 3, 7])
def test_stopped_and_resumed_run_in_half_precision_ends_with_the_same_bits(
    precision: str, stop_at: int, tmp_path: Path
) -> None:
    """In float16, the scale of the loss is in the checkpoint, too."""
    training = Training.model_validate({"precision": precision, "steps": 9, "batch_size": 4, "checkpoint_every": 3})
    whole, again = (_train(tmp_path / name, training) for name in ("whole", "again"))
    with pytest.raises(Stopped):
        _train(tmp_path / "halves", training, stop_at)
    halves = _train(tmp_path / "halves", training)
    assert _bits(whole[0]) == _bits(again[0]) == _bits(halves[0])
    assert whole[1] == again[1] == halves[1]


def test_loss_is_scaled_in_float16_alone() -> None:
    loss = torch.ones(())
    scales = [float(loss_scaler(name, CPU).scale(loss)) for name in ("float32", "bfloat16", "float16")]
    assert scales[:2] == [1, 1]
    assert scales[2] > 1000


def test_first_step_of_a_fused_optimiser_that_overflows_leaves_no_momentum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that was not written to is NaN in torch's deterministic mode."""
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.5, momentum=0.9, fused=True)
    begin_momentum(optimizer)
    scaler = loss_scaler("float16", CPU)
    torch.use_deterministic_algorithms(True)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    try:
        for factor, after in ((float("inf"), 1.0), (1.0, 0.5), (1.0, -0.45)):
            optimizer.zero_grad()
            scaler.scale((weight * factor).sum()).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()
            torch.testing.assert_close(weight.detach(), torch.full((3,), after))
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler")
def test_compiled_student_takes_the_same_steps_within_the_tolerance(tmp_path: Path) -> None:
    """The losses of all steps, the features too, and a network that is itself as it was: names, and evaluation."""
    training = Training(precision="float32", steps=6, batch_size=4)
    eager, compiled = (
        _train(tmp_path / str(flag), training.model_copy(update={"compile": flag})) for flag in (False, True)
    )
    for expected, line in zip(eager[1], compiled[1], strict=True):
        assert line["loss"] == pytest.approx(expected["loss"], rel=COMPILED_TOLERANCE)
    assert eager[0].state_dict().keys() == compiled[0].state_dict().keys()
    network = _network()
    student = StudentPass(network, LAYERS, Training(precision="float32", compile=True), CPU)
    for batch in (_images(4), _images(4) + 1):
        logits, features = student(batch)
        expected_logits, expected_features = forward_with_features(network, batch, LAYERS)
        torch.testing.assert_close(logits, expected_logits)
        torch.testing.assert_close(features, expected_features)


def test_network_that_cannot_be_compiled_is_named() -> None:
    class Stubborn(nn.Module):
        def forward(self, _images: Tensor) -> Tensor:
            raise torch._dynamo.exc.InternalTorchDynamoError("mine")

    with pytest.raises(ConfigError, match="can compile, got InternalTorchDynamoError: mine"):
        StudentPass(Stubborn(), (), Training(), CPU)(_images())


def test_folder_of_compiled_code_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler makes it when it writes there first."""

    def fail(*_: object) -> Tensor:
        raise FileNotFoundError(2, "No such file or directory", "/proc/folder")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    student = StudentPass(_network(), (), Training(compile=True), CPU)
    with pytest.raises(ConfigError, match=r"training.compile: .*, got FileNotFoundError: .*TORCHINDUCTOR_CACHE_DIR"):
        student(_images())


class _Flat(nn.Conv2d):
    """A network of one's own whose code expects contiguous values."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).view(len(images), -1)


class _InNumPy(nn.Conv2d):
    """A network of one's own that computes a part in NumPy, which lacks bfloat16."""

    def forward(self, images: Tensor) -> Tensor:
        values = super().forward(images)
        return (values * float(values.detach().numpy().max())).flatten(1)


class _NoHalf(torch.autograd.Function):
    """An operation whose backward pass lacks bfloat16."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        scaled: Tensor = torch.linalg.svdvals(gradient).sum() * gradient
        return scaled


class _NoHalfBackward(nn.Conv2d):
    def forward(self, images: Tensor) -> Tensor:
        values: Tensor = _NoHalf.apply(super().forward(images))
        return values.flatten(1)


@pytest.mark.parametrize(
    ("network", "memory_format", "message"),
    [
        (_Flat, "channels_last", 'channels_last, got RuntimeError: view size .*training.memory_format = "contiguous"'),
        (_InNumPy, "contiguous", 'in bfloat16 .*, got TypeError: .*BFloat16; .*training.precision = "float32"'),
        (_NoHalfBackward, "contiguous", 'in bfloat16 .*, got NotImplementedError: .*training.precision = "float32"'),
    ],
)
def test_network_that_cannot_compute_so_is_named_with_the_setting(
    network: type[nn.Conv2d], memory_format: str, message: str
) -> None:
    """In the forward and the backward pass; with the former settings it computes."""
    for training in (
        Training.model_validate({"precision": "bfloat16", "memory_format": memory_format}),
        Training(precision="float32", memory_format="contiguous"),
    ):
        student = placed(network(2, 4, 3), training, CPU)
        images = torch.ones(3, 2, 6, 6)
        if training.memory_format == "channels_last":
            images = images.contiguous(memory_format=torch.channels_last)
        run = StudentPass(student, (), training, CPU)
        expectation = pytest.raises(ConfigError, match=message) if training.precision == "bfloat16" else nullcontext()
        with expectation, run.translated_errors():
            run(images)[0].sum().backward()  # type: ignore[no-untyped-call]


def test_other_errors_of_a_network_pass() -> None:
    student = StudentPass(_network(), (), Training.model_validate({"precision": "bfloat16"}), CPU)
    with pytest.raises(RuntimeError, match="channels"):
        student(torch.zeros(2, 3, 4, 4))


@pytest.mark.parametrize(
    ("training", "environment", "message"),
    [
        ({"precision": "float16"}, {}, "training.precision: expected auto, float32 or bfloat16 on a CPU"),
        (
            {"compile": True},
            {"CXX": "no-such-compiler"},
            "training.compile: expected a C[+][+] compiler, got none named",
        ),
        (
            {"compile": True},
            {"CXX": "true", **torchrun(2)},
            "training.compile: expected false on several ranks, got true on 2",
        ),
    ],
)
def test_what_cannot_work_is_named_before_anything_is_spent(
    training: dict[str, Any], environment: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        check_possible(Training.model_validate(training), CPU)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_cpu_can_train_in_these(precision: str) -> None:
    """Where bfloat16 has no instructions, torch emulates it."""
    check_possible(Training.model_validate({"precision": precision}), CPU)
