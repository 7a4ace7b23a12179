"""Training batches: drawn, augmented, mixed if the method mixes, and passed through the student.

Invariant: all randomness of a run comes from one generator, on the device that trains, so its state and that of the
orders are enough to resume there. The CPU and a GPU draw different numbers.
"""

from typing import Any

import torch
from torch import Tensor

from distill_worker.data.preprocessing import CROP_FLIP, STRONG
from distill_worker.errors import ConfigError, RunError
from distill_worker.methods.base import LOGITS
from distill_worker.methods.representation import FEATURES
from distill_worker.methods.terms import Batch, Objective
from distill_worker.training.precision import StudentPass
from distill_worker.training.ranks.group import ALONE, Ranks
from distill_worker.training.ranks.rows import check_rows, own_rows, whole_parts, whole_rows
from distill_worker.training.training_set import BatchOrder, Rows, TrainingSet


class Batches:
    """The batches of one run. Queried, unbought and pool samples go through the student in one forward pass.

    Every rank draws the whole batch, passes its own rows through the student, and gets the outputs of all.
    """

    def __init__(self, data: TrainingSet, batch_size: int, seed: int, ranks: Ranks = ALONE) -> None:
        self._ranks = ranks
        self.generator = torch.Generator(data.images.device).manual_seed(seed)
        self._data = data
        queried, unbought = data.parts(batch_size)
        self._stored = queried if data.views is None else data.views.stored(queried)
        """How many images at the front of a batch have stored outputs, and are augmented as the run's policy says."""
        self._order = BatchOrder(len(data), queried, self.generator)
        self._unbought_order = None
        if data.unbought is not None:
            self._unbought_order = BatchOrder(len(data.unbought), unbought, self.generator)
        check_rows(ranks, queried + unbought)
        self._pool_order = None
        if data.pool is not None:
            self._pool_order = BatchOrder(len(data.pool.images), batch_size, self.generator)
            check_rows(ranks, min(batch_size, len(data.pool.images)))

    def next(self, student: StudentPass, objective: Objective, step: int) -> Batch:
        """Draw a batch and compute the student's outputs on it."""
        data, rows = self._data, self._next_rows()
        images = self._augmented(rows.images)
        targets, probabilities, labels = rows.targets, rows.label_probabilities, rows.labels
        mixture = objective.mixture(images, self.generator)
        if mixture is not None:
            images, probabilities, labels = mixture.images(images), mixture.probabilities(probabilities), None
            targets = {kind: mixture.log_probabilities(outputs) for kind, outputs in targets.items()}
        inputs = [images]
        pool_labels = self._add_pool(inputs, objective)
        own = [data.preprocessing.normalised(own_rows(self._ranks, part)) for part in inputs]
        if data.views is not None:
            stored = self._stored if mixture is None else 0
            outputs = data.views.log_probabilities(own[0][stored:])
            targets = {LOGITS: torch.cat([targets[LOGITS][:stored], outputs])}
        logits, features = student(torch.cat(own))
        _check_classes(logits, probabilities)
        parts = whole_parts(self._ranks, logits, [len(part) for part in inputs])
        own_size = len(own[0])
        return Batch(
            student={LOGITS: parts[0]}
            | {
                FEATURES + layer: whole_rows(self._ranks, values[:own_size], len(images))
                for layer, values in features.items()
            },
            teacher=targets,
            label_probabilities=probabilities,
            labels=labels,
            samples=rows.samples,
            generator=self.generator,
            step=step,
            labelled=(parts[1], pool_labels) if pool_labels is not None else None,
            views=(parts[1], parts[2]) if len(parts) == 3 else None,
        )

    def state(self) -> dict[str, Any]:
        """The state to store in a checkpoint."""
        return {
            "generator": self.generator.get_state(),
            "order": self._order.state(),
            "pool_order": None if self._pool_order is None else self._pool_order.state(),
            **({} if self._unbought_order is None else {"unbought_order": self._unbought_order.state()}),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint.

        Raises:
            RunError: the checkpoint is of a run on another kind of device.
        """
        if state["generator"].shape != self.generator.get_state().shape:
            raise RunError(
                f"training.device: expected the kind of device that the checkpoint's random numbers are from, got "
                f"{self.generator.device.type}, which draws others; set training.device to the device that the run "
                "began on, or start again with --fresh"
            )
        self.generator.set_state(state["generator"])
        self._order.restore(state["order"])
        if self._pool_order is not None:
            self._pool_order.restore(state["pool_order"])
        if self._unbought_order is not None:
            self._unbought_order.restore(state["unbought_order"])

    def _next_rows(self) -> Rows:
        queried = self._order.next_batch()
        return self._data.rows(queried, None if self._unbought_order is None else self._unbought_order.next_batch())

    def _augmented(self, images: Tensor) -> Tensor:
        """A view of each image of a batch. Those with an ensemble's outputs have a policy of their own."""
        others = self._data.views if self._data.unbought is None else self._data.unbought
        augmented = self._data.preprocessing.augmented
        if others is None:
            return augmented(images, self.generator)
        stored = augmented(images[: self._stored], self.generator)
        return torch.cat([stored, augmented(images[self._stored :], self.generator, policy=others.policy)])

    def _add_pool(self, inputs: list[Tensor], objective: Objective) -> Tensor | None:
        """Append a batch of the pool to `inputs`: once if it has labels, which are returned, else in two views."""
        pool = self._data.pool
        if pool is None or self._pool_order is None:
            return None
        chosen = self._pool_order.next_batch()
        policies: list[str | None] = [STRONG, CROP_FLIP] if objective.strong_view else [None, None]
        inputs += [
            self._data.preprocessing.augmented(pool.images[chosen], self.generator, policy=policy)
            for policy in (policies if pool.labels is None else [None])
        ]
        return None if pool.labels is None else pool.labels[chosen]


def _check_classes(logits: Tensor, probabilities: Tensor) -> None:
    """Raise `ConfigError` unless the network returns as many logits in training mode as the data have classes."""
    if (got := logits.shape[1]) != (classes := probabilities.shape[1]):
        raise ConfigError(
            f"student.network: expected logits for {classes} classes in training mode, as in evaluation mode, got a "
            f"tensor of shape {list(logits.shape)} with {got}; return the logits as the first tensor, or name them "
            "'logits'"
        )
