"""The one training loop: a student on stored targets, or a teacher-to-be on labels alone.

Invariant: on the CPU, a run that was killed and resumed ends with the same bits as one that was not, if all that
changes in its network during training is in parameters and buffers: a checkpoint holds nothing else of it. All
randomness of a run comes from its seed, also what the network's own code draws from the global generators; when the
training ends, these are as they were before. Several ranks take every step, and every decision, together.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from distill_worker.config.training_section import Training
from distill_worker.errors import RunError, TrainingDiverged
from distill_worker.methods.terms import Objective
from distill_worker.training.batches import Batches
from distill_worker.training.directory.run_directory import RunDirectory
from distill_worker.training.evaluate import count_correct
from distill_worker.training.network.averaging import Averaging, copied
from distill_worker.training.network.errors import training_errors
from distill_worker.training.network.frozen import frozen_parts, set_training_mode
from distill_worker.training.precision import StudentPass, begin_momentum, loss_scaler
from distill_worker.training.ranks.batch_norm import synchronised
from distill_worker.training.ranks.group import ALONE, Ranks
from distill_worker.training.ranks.network import follow_first, sum_gradients
from distill_worker.training.schedule import Patience, cosine_rate, one_cycle_rate
from distill_worker.training.training_set import TrainingSet
from shared.networks.draws import draws_from, generator_states, kept_draws, set_generator_states

_LOGGED_STEPS = 50
_FEWEST_TIMED = 3
_TIMED_SECONDS = 2.0

Progress = Callable[[int, float], None]
"""Called with the number of steps done and the last logged loss."""


@dataclass(frozen=True)
class BestWeights:
    """The weights with the best validation accuracy so far; of several equal ones, the first."""

    step: int
    accuracy: float
    network: dict[str, Tensor]
    objective: dict[str, Tensor]


def most_steps(training: Training, samples: int) -> int:
    """The largest number of steps that a training on so many samples takes."""
    if training.protocol == "paper":
        return training.max_epochs * _epoch_steps(training, samples)
    return min(training.steps, training.stop_after_steps or training.steps)


def train(
    network: nn.Module,
    objective: Objective,
    data: TrainingSet,
    training: Training,
    directory: RunDirectory,
    progress: Progress = lambda _step, _loss: None,
    *,
    ranks: Ranks = ALONE,
) -> BestWeights | None:
    """Train `network` in place, from the directory's checkpoint if it has one. Rank 0 alone uses the directory.

    A precision or memory format in `training` that is `auto` must be resolved before: here it counts as float32.

    Returns:
        The best weights by validation accuracy, or None without validation samples. `network` keeps the last ones, or
        with `averaging` the average.

    Raises:
        TrainingDiverged: the loss is not finite.
        ConfigError: the network fails.
        RunError: the directory cannot be used.
        RankLost: another rank ended.
    """
    run = _RunningTraining(network, objective, data, training, ranks)
    is_whole = training.batch_norm == "synchronised"
    with draws_from(_seed_of_draws(training.seed, ranks.rank)), synchronised(network, ranks if is_whole else ALONE):
        _train_to_the_end(run, data, training, directory, progress, ranks)
        run.averaging.use()
    return run.best


def _train_to_the_end(
    run: "_RunningTraining",
    data: TrainingSet,
    training: Training,
    directory: RunDirectory,
    progress: Progress,
    ranks: Ranks,
) -> None:
    state = ranks.from_first(directory.load_checkpoint)
    if state is not None:
        try:
            run.restore(state)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise RunError(
                f"{directory.path / 'checkpoint.pt'}: expected a checkpoint of this run, got another file; delete it "
                "to start again"
            ) from error
    if ranks.is_first:
        directory.log_after(run.steps_done)
    last = most_steps(training, len(data))
    log_every = max(1, last // _LOGGED_STEPS) if training.protocol == "steps" else run.epoch_steps
    run.set_training_mode()
    while run.steps_done < last and not run.patience.is_exhausted:
        with training_errors(f"the network to take step {run.steps_done + 1}"):
            terms = run.step()
        if run.steps_done % log_every == 0 or run.steps_done == last:
            values = ranks.from_first(partial(_values, terms))
            loss = sum(values.values())
            if not math.isfinite(loss):
                raise TrainingDiverged(
                    f"step {run.steps_done}: expected a finite loss, got {loss} ({values}); lower "
                    "training.learning_rate"
                )
            accuracy = run.validation_accuracy
            validation = {} if accuracy is None else {"validation_accuracy": accuracy}
            if ranks.is_first:
                directory.log({"step": run.steps_done, "loss": loss, **values, **validation, "learning_rate": run.rate})
            with kept_draws():
                progress(run.steps_done, loss)
        if run.steps_done % training.checkpoint_every == 0 and run.steps_done < last:
            state = run.state()
            if ranks.is_first:
                directory.save_checkpoint(state)


def take_first_step(network: nn.Module, objective: Objective, data: TrainingSet, training: Training) -> None:
    """Take the first step of a training; `network` and `objective` change."""
    run = _RunningTraining(network, objective, data, training)
    run.set_training_mode()
    run.step()


def seconds_a_step(network: nn.Module, objective: Objective, data: TrainingSet, training: Training) -> float:
    """The time of a training's step on this machine, by its first ones; `network` and `objective` change."""
    run = _RunningTraining(network, objective, data, training)
    run.set_training_mode()
    device = data.images.device
    run.step()  # which may compile the network
    begin, taken = _now(device), 0
    while taken < _FEWEST_TIMED or _now(device) - begin < _TIMED_SECONDS:
        run.step()
        taken += 1
    return (_now(device) - begin) / taken


def _now(device: torch.device) -> float:
    """The time in seconds, when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class _RunningTraining:
    """A training between two steps. `state` and `restore` convert it to and from a checkpoint."""

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        data: TrainingSet,
        training: Training,
        ranks: Ranks = ALONE,
    ) -> None:
        self._ranks = ranks
        self._network = network
        self._objective = objective
        self._data = data
        self._training = training
        self._frozen = frozen_parts(network)
        self._batches = Batches(data, training.batch_size, training.seed, ranks)
        # The parameters of a method (a projection, a variance) are trained with the student.
        self._optimizer = torch.optim.SGD(
            [*network.parameters(), *objective.parameters()],
            lr=training.learning_rate,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            fused=True if data.images.is_cuda else None,  # on the CPU its last bits differ
        )
        begin_momentum(self._optimizer)
        self._student = StudentPass(network, objective.student_layers, training, data.images.device)
        self._scaler = loss_scaler(training.precision, data.images.device)
        self.averaging = Averaging(network, data, training, most_steps(training, len(data)), ranks)
        self.patience = Patience(training.patience_epochs)
        self.epoch_steps = _epoch_steps(training, len(data))
        self._validate_every = self.epoch_steps
        if training.protocol == "steps":
            self._validate_every = max(self.epoch_steps, training.steps // _LOGGED_STEPS)
        self.best: BestWeights | None = None
        self.validation_accuracy: float | None = None
        self.steps_done = 0
        self.rate = math.nan

    def step(self) -> dict[str, Tensor]:
        """Take one step of the optimiser, and validate if it is due; return the weighted loss terms by name."""
        self.rate = self._rate(self.steps_done + 1)
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate
        self._optimizer.zero_grad(set_to_none=True)  # before the forward pass, which then needs less memory
        terms: dict[str, Tensor] = self._objective(
            self._batches.next(self._student, self._objective, self.steps_done + 1)
        )
        with self._student.translated_errors():
            self._scaler.scale(torch.stack(list(terms.values())).sum()).backward()  # type: ignore[no-untyped-call]
        sum_gradients(self._ranks, self._network, self._objective)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        follow_first(self._ranks, self._network)
        self.steps_done += 1
        self.averaging.update(self.steps_done)
        last = self.steps_done == most_steps(self._training, len(self._data))
        if self._data.validation is not None and (self.steps_done % self._validate_every == 0 or last):
            self._validate(*self._data.validation)
        return terms

    def set_training_mode(self) -> None:
        set_training_mode(self._network, self._frozen)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds. Every rank must ask for it, because each draws from generators of its own."""
        draws, *others = self._ranks.gathered(generator_states())
        return {
            "step": self.steps_done,
            "network": self._network.state_dict(),
            "objective": self._objective.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "batches": self._batches.state(),
            "averaging": self.averaging.state(),
            "draws": draws,
            "draws_of_other_ranks": others,
            "patience": self.patience.state(),
            "best": None if self.best is None else vars(self.best),
            "validation_accuracy": self.validation_accuracy,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._network.load_state_dict(state["network"])
        self._objective.load_state_dict(state["objective"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state.get("scaler", {}))  # the checkpoints of earlier versions have none
        self._batches.restore(state["batches"])
        if self._training.averaging != "none":  # the checkpoints of earlier versions have no average
            self.averaging.restore(state["averaging"])
        if "draws" in state:  # the checkpoints of earlier versions have none
            set_generator_states([state["draws"], *state.get("draws_of_other_ranks", ())][self._ranks.rank])
        self.patience.restore(state["patience"])
        self.best = None if state["best"] is None else BestWeights(**state["best"])
        self.validation_accuracy = state["validation_accuracy"]
        self.steps_done = int(state["step"])

    def _rate(self, step: int) -> float:
        training = self._training
        if training.protocol == "paper":
            return training.learning_rate * self.patience.factor
        rate = cosine_rate if training.schedule == "cosine" else one_cycle_rate
        return rate(training.learning_rate, step, training.steps)

    def _validate(self, images: Tensor, labels: Tensor) -> None:
        preprocessing = self._data.preprocessing
        with self.averaging.used():
            correct = self._ranks.from_first(
                lambda: count_correct(
                    self._network,
                    images,
                    labels,
                    mean=preprocessing.mean,
                    std=preprocessing.std,
                    resize=preprocessing.size,
                )
            )
            self.validation_accuracy = correct / len(labels)
            improved = self.best is None or self.validation_accuracy > self.best.accuracy
            if improved:
                copies = [copied(module.state_dict()) for module in (self._network, self._objective)]
                self.best = BestWeights(self.steps_done, self.validation_accuracy, *copies)
        self.set_training_mode()
        if self._training.protocol == "paper" and self.patience.after_epoch(improved=improved):
            self._restore_best()

    def _restore_best(self) -> None:
        if self.patience.is_exhausted or self.best is None:
            return
        self._network.load_state_dict(self.best.network)
        self._objective.load_state_dict(self.best.objective)
        self._optimizer.state.clear()  # the momentum belongs to the abandoned weights
        begin_momentum(self._optimizer)


def _epoch_steps(training: Training, samples: int) -> int:
    return math.ceil(samples / training.batch_size)


def _seed_of_draws(seed: int, rank: int) -> int:
    # Not the seed itself: the initial weights and the order of the batches are drawn from that.
    source = f"draws:{seed}" if rank == 0 else f"draws:{seed}:{rank}"
    return int.from_bytes(sha256(source.encode()).digest()[:7], "big")


def _values(terms: dict[str, Tensor]) -> dict[str, float]:
    return dict(zip(terms, torch.stack(list(terms.values())).tolist(), strict=True))
