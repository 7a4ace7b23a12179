"""The student of the benchmark, its synthetic data, its bare step, and its training by the loop that users run.

resnet20 on 3 x 32 x 32 images of 100 classes, in batches of 64, on one CPU thread. The images are noise: no step
depends on what they show.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from benchmarks.training.turns import Subject
from distill_worker.config.training_section import Training
from distill_worker.data.preprocessing import Preprocessing
from distill_worker.methods.base import LOGITS, Method
from distill_worker.methods.terms import Objective, Setting
from distill_worker.training.loop import train
from distill_worker.training.run_directory import RunDirectory
from distill_worker.training.training_set import TrainingSet
from shared.networks import build_network

STUDENT, TEACHER = "resnet20", "resnet110"
CLASSES, BATCH, CHANNELS, SIZE = 100, 64, 3, 32
MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 5e-4

Precision = Literal["float32", "bfloat16"]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of student logits, teacher logits and labels."""


def synthetic_set(samples: int, precision: Precision) -> TrainingSet:
    """Noise in CIFAR-100's format with random labels and random teacher logits, the same at every call."""
    numbers = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (samples,), generator=numbers)
    return TrainingSet(
        images=torch.randint(256, (samples, CHANNELS, SIZE, SIZE), generator=numbers, dtype=torch.uint8),
        label_probabilities=one_hot(labels, CLASSES).to(torch.float32),
        labels=labels,
        preprocessing=Preprocessing(
            MEAN, STD, crop_padding=4, horizontal_flip=True, channels_last=precision == "bfloat16"
        ),
        targets={LOGITS: 3 * torch.randn(samples, CLASSES, generator=numbers)},
    )


def network(name: str = STUDENT, layout: torch.memory_format = torch.contiguous_format) -> nn.Module:
    """A network with the initial weights of seed 0, in training mode."""
    torch.manual_seed(0)
    return build_network(name, num_classes=CLASSES, in_channels=CHANNELS).to(memory_format=layout)


def optimizer_of(student: nn.Module) -> torch.optim.Optimizer:
    """SGD with the settings of the literature."""
    return torch.optim.SGD(student.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)


def label_loss(student_logits: Tensor, _teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy alone."""
    return cross_entropy(student_logits, labels)


def bare_step(
    precision: Precision, *, loss: Loss = label_loss, images: int = BATCH, channels_last: bool | None = None
) -> Callable[[], None]:
    """Forward, backward and optimiser step on fixed tensors: what no loop can go without.

    Args:
        precision: of the forward pass; the loss is float32.
        loss: of the logits.
        images: in the batch.
        channels_last: the layout in memory. Default: the one that is faster in this precision.
    """
    in_channels_last = precision == "bfloat16" if channels_last is None else channels_last
    layout = torch.channels_last if in_channels_last else torch.contiguous_format
    student = network(layout=layout)
    optimizer = optimizer_of(student)
    numbers = torch.Generator().manual_seed(0)
    inputs = torch.randn(images, CHANNELS, SIZE, SIZE, generator=numbers).contiguous(memory_format=layout)
    teacher_logits = 3 * torch.randn(images, CLASSES, generator=numbers)
    labels = torch.randint(CLASSES, (images,), generator=numbers)

    def step() -> None:
        with autocast(precision):
            logits = student(inputs)
        optimizer.zero_grad(set_to_none=True)
        loss(logits.float(), teacher_logits, labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def loop(method: Method, precision: Precision, *, steps: int, samples: int = 5000) -> Subject:
    """Training by `distill_worker.training.loop.train`: what it does once a training counts too, shared by `steps`."""
    data = synthetic_set(samples, precision)
    layout = torch.channels_last if precision == "bfloat16" else torch.contiguous_format
    student = network(layout=layout)
    setting = Setting(num_classes=CLASSES, steps=steps, student_shapes={LOGITS: (CLASSES,)}, targets=data.targets)
    objective = Objective([method], setting)
    training = Training(steps=steps, batch_size=BATCH)
    return partial(_trained, student, objective, data, training, precision)


def autocast(precision: Precision) -> AbstractContextManager[None]:
    """Autocast to bfloat16, or none."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")


def _trained(
    student: nn.Module, objective: Objective, data: TrainingSet, training: Training, precision: Precision
) -> float:
    with tempfile.TemporaryDirectory() as folder, autocast(precision):
        started = time.perf_counter()
        train(student, objective, data, training, RunDirectory(Path(folder)))
        return (time.perf_counter() - started) / training.steps
