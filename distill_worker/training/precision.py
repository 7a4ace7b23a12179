"""The student's forward and backward pass: the precision in which it computes, and whether it is compiled.

Invariant: weights, their gradients, the optimiser, the statistics of batch normalisation and the losses are float32
with every precision; evaluation and the stored student never see another one, nor compiled code.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

import torch
from torch import Tensor, nn

from distill_worker.config.training_section import Training
from distill_worker.errors import ConfigError
from distill_worker.training.ranks.launch import launch
from shared.networks.taps import TappedNetwork

FLOAT32: Final = "float32"
BFLOAT16: Final = "bfloat16"
FLOAT16: Final = "float16"
CHANNELS_LAST: Final = "channels_last"
CONTIGUOUS: Final = "contiguous"
_HALF: Final = {BFLOAT16: torch.bfloat16, FLOAT16: torch.float16}
_NAMES_TYPES: Final = re.compile("dtype|scalar ?type|bfloat16|half", re.IGNORECASE)
"""Matches what torch says where types are mixed that it does not mix, or where an operation lacks a type."""
_NAMES_STRIDES: Final = "view size is not compatible"
"""What torch says where `view` is used on a tensor in channels_last."""
_LONGEST_REASON: Final = 300


def automatic_precision(device: torch.device) -> str:
    """The precision that `auto` stands for in a run that begins on this device: `bfloat16` or `float32`."""
    if device.type == "cpu" and _is_by_intel() and not torch.cpu._is_amx_tile_supported():
        return FLOAT32  # such a CPU multiplies as many numbers a cycle in AVX512-BF16 as in float32
    return BFLOAT16 if has_bfloat16(device) else FLOAT32


def automatic_format(precision: str, device: torch.device) -> str:
    """The memory format that is fastest in this precision on this device: `channels_last` or `contiguous`."""
    if precision != FLOAT32 or (device.type == "cpu" and _has_onednn()):
        return CHANNELS_LAST
    return CONTIGUOUS


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16. Otherwise it emulates bfloat16, and float32 is faster."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has_instructions = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return has_instructions and _has_onednn()


def check_possible(training: Training, device: torch.device) -> None:
    """Check that the student can be trained in this precision, or be compiled, on this machine.

    Raises:
        ConfigError: float16 without a GPU; or `compile` without a C++ compiler, or on several ranks.
    """
    if training.precision == FLOAT16 and device.type == "cpu":
        raise ConfigError(
            "training.precision: expected auto, float32 or bfloat16 on a CPU, which computes slowly in float16, got "
            "'float16'"
        )
    if not training.compile:
        return
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise ConfigError(
            f"training.compile: expected a C++ compiler, got none named {compiler}; install one, name it in the "
            "environment variable CXX, or set training.compile = false"
        )
    if (started := launch()) is not None:
        raise ConfigError(
            f"training.compile: expected false on several ranks, got true on {started.size}; set it to false"
        )


class StudentPass:
    """The student's forward pass, as training takes it."""

    def __init__(self, network: nn.Module, layers: Sequence[str], training: Training, device: torch.device) -> None:
        self._half = _HALF.get(training.precision)
        self._is_compiled = training.compile
        self._is_channels_last = training.memory_format == CHANNELS_LAST
        self._device = device
        self._run = TappedNetwork(network, layers, _compiled(network, device) if training.compile else None)

    def __call__(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The logits and features of a batch, as `forward_with_features` gives them, but never in half precision.

        Raises:
            ConfigError: as `translated_errors`.
            ValueError: as `forward_with_features`.
        """
        with self._autocast(), self.translated_errors():
            logits, features = self._run(images)
        return self._whole(logits), {layer: self._whole(values) for layer, values in features.items()}

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Translate what the network raises because of these settings, in the backward pass too; other errors pass.

        Raises:
            ConfigError: the network cannot be compiled, or its compiled code cannot be written; it lacks an operation
                in half precision, or uses `view` on a tensor in channels_last.
        """
        try:
            yield
        except (RuntimeError, TypeError, OSError) as error:
            if (expected := self._expected(error)) is None:
                raise
            expectation, remedy = expected
            got = f"got {type(error).__name__}: {' '.join(str(error).split())[:_LONGEST_REASON]}"
            raise ConfigError(f"{expectation}, {got}; {remedy}") from error

    def _expected(self, error: Exception) -> tuple[str, str] | None:
        """What was expected of the network, and the remedy, if one of the settings is the cause."""
        if isinstance(error, torch._dynamo.exc.TorchDynamoException):
            return (
                "training.compile: expected a network that torch.compile can compile",
                "set training.compile = false",
            )
        if self._is_compiled and isinstance(error, OSError):
            return (
                "training.compile: expected a folder for compiled code that can be written",
                "name another one in the environment variable TORCHINDUCTOR_CACHE_DIR, or set training.compile = false",
            )
        if self._is_channels_last and _NAMES_STRIDES in str(error):
            return (
                "student.network: expected one that computes on images in channels_last",
                'use reshape in place of view in its code, or set training.memory_format = "contiguous"',
            )
        if self._half is not None and _NAMES_TYPES.search(str(error)):
            name = str(self._half).removeprefix("torch.")
            return (
                f"student.network: expected one that computes in {name} under torch.autocast",
                f'mend it, or set training.precision = "{FLOAT32}"',
            )
        return None

    def _autocast(self) -> AbstractContextManager[object]:
        return nullcontext() if self._half is None else torch.autocast(self._device.type, self._half)

    def _whole(self, values: Tensor) -> Tensor:
        return values.float() if values.dtype == self._half else values


def loss_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """The scaler of the loss: for `float16`, whose smallest gradients would be 0; otherwise one that does nothing."""
    return torch.amp.GradScaler(device.type, enabled=precision == FLOAT16)


def begin_momentum(optimizer: torch.optim.SGD) -> None:
    """Let the momentum of a fused optimiser begin at 0, which gives the same first step.

    Torch begins with memory that was not written to, and a first step whose scaled gradients overflow leaves it so.
    """
    for group in optimizer.param_groups:
        if group["fused"] and group["momentum"]:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def _has_onednn() -> bool:
    """Whether torch computes convolutions on the CPU by oneDNN, which knows bfloat16 and channels_last."""
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def _is_by_intel() -> bool:
    """Whether the CPU is known to be Intel's. Earlier versions of torch do not know."""
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return str(capabilities.get("cpu_name", "")).startswith("Intel")


def _compiled(network: nn.Module, device: torch.device) -> Callable[[Tensor], Any]:
    """The network's forward pass as compiled code, with CUDA graphs on a GPU; the network itself stays as it is."""
    compiled: Callable[[Tensor], Any] = torch.compile(
        network, mode="reduce-overhead" if device.type == "cuda" else "default"
    )
    return compiled
