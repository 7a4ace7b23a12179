"""The student of the benchmark, its synthetic data, its bare step, and its training by the loop that users run.

resnet20 on 3 x 32 x 32 images of 100 classes, in batches of 64, on one CPU thread. The images are noise: no step
depends on what they show.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from benchmarks.training.turns import Subject, mean_interval
from distill_worker.config.training_section import Training
from distill_worker.data.preprocessing import Preprocessing
from distill_worker.methods.base import LOGITS, Method
from distill_worker.methods.terms import Objective, Setting
from distill_worker.runs.student import placed
from distill_worker.training.directory.run_directory import RunDirectory
from distill_worker.training.loop import train
from distill_worker.training.precision import BFLOAT16, FLOAT32, has_bfloat16
from distill_worker.training.training_set import TrainingSet
from shared.networks import build_network

STUDENT, TEACHER = "resnet20", "resnet110"
CLASSES, BATCH, CHANNELS, SIZE = 100, 64, 3, 32
MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 5e-4

Precision = Literal["float32", "bfloat16"]
CPU: Final = torch.device("cpu")
PRECISIONS: Final[tuple[Precision, ...]] = (FLOAT32, BFLOAT16) if has_bfloat16(CPU) else (FLOAT32,)
"""Those that this machine has instructions for; the last is the one that a run has by default."""

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of student logits, teacher logits and labels."""


def synthetic_set(samples: int, *, channels_last: bool) -> TrainingSet:
    """Noise in CIFAR-100's format with random labels and random teacher logits, the same at every call."""
    numbers = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (samples,), generator=numbers)
    return TrainingSet(
        images=torch.randint(256, (samples, CHANNELS, SIZE, SIZE), generator=numbers, dtype=torch.uint8),
        label_probabilities=one_hot(labels, CLASSES).to(torch.float32),
        labels=labels,
        preprocessing=Preprocessing(MEAN, STD, crop_padding=4, horizontal_flip=True, channels_last=channels_last),
        targets={LOGITS: 3 * torch.randn(samples, CLASSES, generator=numbers)},
    )


def network(name: str = STUDENT) -> nn.Module:
    """A network with the initial weights of seed 0, in training mode."""
    torch.manual_seed(0)
    return build_network(name, num_classes=CLASSES, in_channels=CHANNELS)


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
        precision: of the student's pass; the loss is float32.
        loss: of the logits.
        images: in the batch.
        channels_last: the layout in memory. Default: what a run has by default in this precision.
    """
    in_channels_last = _layout_of(precision) == "channels_last" if channels_last is None else channels_last
    layout = torch.channels_last if in_channels_last else torch.contiguous_format
    student = network().to(memory_format=layout)
    optimizer = optimizer_of(student)
    numbers = torch.Generator().manual_seed(0)
    inputs = torch.randn(images, CHANNELS, SIZE, SIZE, generator=numbers).contiguous(memory_format=layout)
    teacher_logits = 3 * torch.randn(images, CLASSES, generator=numbers)
    labels = torch.randint(CLASSES, (images,), generator=numbers)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == BFLOAT16):
            logits = student(inputs)
        optimizer.zero_grad(set_to_none=True)
        loss(logits.float(), teacher_logits, labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def loop(method: Method, precision: Precision, *, steps: int, samples: int = 5000) -> Subject:
    """Training by `distill_worker.training.loop.train`: `steps` steps, timed from the end of one that goes before."""
    training = Training(
        steps=steps + 1, batch_size=BATCH, device="cpu", precision=precision, memory_format=_layout_of(precision)
    )
    data = synthetic_set(samples, channels_last=training.memory_format == "channels_last")
    setting = Setting(num_classes=CLASSES, steps=steps + 1, student_shapes={LOGITS: (CLASSES,)}, targets=data.targets)
    student, objective = placed(network(), training, CPU), Objective([method], setting)

    def trained() -> float:
        ended: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            train(
                student,
                objective,
                data,
                training,
                RunDirectory(Path(folder)),
                progress=lambda _step, _loss: ended.append(time.perf_counter()),
            )
        return mean_interval(ended)

    return trained


def _layout_of(precision: Precision) -> Literal["contiguous", "channels_last"]:
    return "channels_last" if precision == BFLOAT16 else "contiguous"
