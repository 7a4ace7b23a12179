"""The one training loop: a student on stored targets, or a teacher-to-be on labels alone.

Images live on the device as uint8 and targets as one aligned tensor, so a step waits for neither disk nor network.

Invariant: on the CPU, a run that was killed and resumed ends with the same bits as one that was not.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from distill_worker.augment import augment
from distill_worker.config import Training
from distill_worker.errors import RunError
from distill_worker.methods import Objective
from distill_worker.run_directory import RunDirectory
from shared.normalise import normalise

_LOGGED_STEPS = 50

Progress = Callable[[int, float], None]
"""Told the steps done so far and the last logged loss."""


@dataclass(frozen=True)
class TrainingSet:
    """What a student learns from, on one device."""

    images: Tensor
    """uint8 `[samples, channels, height, width]`."""
    labels: Tensor
    """int64 `[samples]`."""
    targets: Tensor | None
    """The teacher's outputs, float32 `[samples, classes]`, or None."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int
    horizontal_flip: bool


def train(
    network: nn.Module,
    data: TrainingSet,
    objective: Objective,
    training: Training,
    directory: RunDirectory,
    progress: Progress = lambda _step, _loss: None,
) -> None:
    """Train `network` in place for `training.steps` steps, going on from the directory's checkpoint if it has one.

    Raises:
        RunError: the loss is not finite, or the directory cannot be used.
    """
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=training.learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )
    generator = torch.Generator().manual_seed(training.seed)
    order = _BatchOrder(len(data.images), training.batch_size, generator)
    done = _resume(directory, network, optimizer, order)
    log_every = max(1, training.steps // _LOGGED_STEPS)
    loss_value = math.nan
    network.train()
    for step in range(done + 1, training.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(training.learning_rate, step, training.steps)
        terms = _step(network, data, objective, optimizer, order)
        if step % log_every == 0 or step == training.steps:
            values = {name: float(term.detach()) for name, term in terms.items()}
            loss_value = sum(values.values())
            if not math.isfinite(loss_value):
                raise RunError(f"step {step}: the loss is {loss_value} ({values}); lower training.learning_rate")
            directory.log({"step": step, "loss": loss_value, **values, "learning_rate": group["lr"]})
            progress(step, loss_value)
        if step % training.checkpoint_every == 0 and step < training.steps:
            directory.save_checkpoint(
                {
                    "step": step,
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "order": order.state(),
                }
            )


def cosine_rate(base: float, step: int, steps: int) -> float:
    """The learning rate of a step counted from 1: `base` at the first, towards 0 after the last."""
    return base * 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))


def _step(
    network: nn.Module, data: TrainingSet, objective: Objective, optimizer: torch.optim.Optimizer, order: "_BatchOrder"
) -> dict[str, Tensor]:
    chosen = order.next_batch().to(data.images.device)
    images = augment(
        data.images[chosen],
        crop_padding=data.crop_padding,
        horizontal_flip=data.horizontal_flip,
        generator=order.generator,
    )
    logits = network(normalise(images, data.mean, data.std))
    targets = data.targets[chosen] if data.targets is not None else None
    terms = objective(logits, targets, data.labels[chosen], order.generator)
    optimizer.zero_grad(set_to_none=True)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return terms


def _resume(directory: RunDirectory, network: nn.Module, optimizer: torch.optim.Optimizer, order: "_BatchOrder") -> int:
    state = directory.load_checkpoint()
    done = 0
    if state is not None:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        order.restore(state["order"])
        done = int(state["step"])
    directory.forget_after(done)
    return done


class _BatchOrder:
    """Shuffled passes over the samples in full batches; all of a run's randomness comes from its one generator.

    A last batch that is not full is left out; the next pass shuffles anew. A set smaller than a batch is one batch.
    """

    def __init__(self, samples: int, batch_size: int, generator: torch.Generator) -> None:
        self.generator = generator
        self._samples = samples
        self._batch_size = min(batch_size, samples)
        self._pass = torch.empty(0, dtype=torch.int64)
        self._next = 0

    def next_batch(self) -> Tensor:
        if self._next + self._batch_size > len(self._pass):
            self._pass = torch.randperm(self._samples, generator=self.generator)
            self._next = 0
        batch = self._pass[self._next : self._next + self._batch_size]
        self._next += self._batch_size
        return batch

    def state(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state(), "pass": self._pass, "next": self._next}

    def restore(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        self._pass = state["pass"]
        self._next = state["next"]
