"""What is timed on a device: the bare step of a student in one variant, and the training loop around it."""

import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.training.students import CHANNELS, CLASSES, SIZE, synthetic_set
from benchmarks.training.turns import Subject
from distill_worker.config.training_section import Training
from distill_worker.methods import Method
from distill_worker.methods.base import LOGITS
from distill_worker.methods.terms import Objective, Setting
from distill_worker.training.directory.run_directory import RunDirectory
from distill_worker.training.loop import train
from shared.networks import build_network

STUDENT: Final = "resnet20"
BATCH: Final = 64
_HALF: Final = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Variant:
    """How a student computes."""

    precision: str = "float32"
    memory_format: str = "contiguous"
    compiled: bool = False

    def __str__(self) -> str:
        return "_".join([self.precision, self.memory_format, *(["compiled"] if self.compiled else [])])

    @property
    def layout(self) -> torch.memory_format:
        """The layout, as torch names it."""
        return torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format


def bare_step(
    device: torch.device, variant: Variant, *, network: str = STUDENT, images: int = BATCH
) -> Callable[[], None]:
    """Forward, backward and optimiser step on fixed tensors: what no loop can go without."""
    student = _student(network, device, variant)
    called = torch.compile(student, mode="reduce-overhead") if variant.compiled else student
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, fused=device.type == "cuda" or None)
    scaler = torch.amp.GradScaler(device.type, enabled=variant.precision == "float16")
    inputs = torch.randn(images, CHANNELS, SIZE, SIZE, device=device).contiguous(memory_format=variant.layout)
    labels = torch.randint(CLASSES, (images,), device=device)
    half = _HALF.get(variant.precision)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with nullcontext() if half is None else torch.autocast(device.type, half):
            logits = called(inputs)
        scaler.scale(cross_entropy(logits.float(), labels)).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()

    return step


def timed(step: Callable[[], object], device: torch.device, steps: int) -> Subject:
    """A subject that takes `steps` steps and returns the seconds of one, with the device idle before and after."""

    def seconds() -> float:
        wait_for(device)
        started = time.perf_counter()
        for _ in range(steps):
            step()
        wait_for(device)
        return (time.perf_counter() - started) / steps

    return seconds


def loop(device: torch.device, method: Method, variant: Variant, *, steps: int, images: int = BATCH) -> Subject:
    """Training by the loop that users run: what it does once a training counts too, shared by `steps`."""
    data = synthetic_set(5000, channels_last=variant.memory_format == "channels_last")
    targets = {kind: outputs.to(device) for kind, outputs in data.targets.items()}
    labels = None if data.labels is None else data.labels.to(device)
    data = replace(
        data,
        images=data.images.to(device),
        label_probabilities=data.label_probabilities.to(device),
        labels=labels,
        targets=targets,
    )
    student = _student(STUDENT, device, variant)
    setting = Setting(num_classes=CLASSES, steps=steps, student_shapes={LOGITS: (CLASSES,)}, targets=targets)
    objective = Objective([method], setting).to(device)
    training = Training(steps=steps, batch_size=images, **_settings(variant))

    def seconds() -> float:
        with tempfile.TemporaryDirectory() as folder:
            wait_for(device)
            started = time.perf_counter()
            train(student, objective, data, training, RunDirectory(Path(folder)))
            wait_for(device)
            return (time.perf_counter() - started) / steps

    return seconds


def wait_for(device: torch.device) -> None:
    """Wait until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _student(network: str, device: torch.device, variant: Variant) -> nn.Module:
    torch.manual_seed(0)
    student = build_network(network, num_classes=CLASSES, in_channels=CHANNELS)
    return student.to(memory_format=variant.layout).to(device)


def _settings(variant: Variant) -> dict[str, Any]:
    return {"precision": variant.precision, "memory_format": variant.memory_format}
