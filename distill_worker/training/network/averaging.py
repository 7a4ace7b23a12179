"""The average of a network's weights over the steps of a training.

Training itself never sees it: the network is validated and stored with the average in place of its last weights.

    ema  an exponential moving average of weights and statistics of batch normalisation, which forgets its beginning
    swa  the mean of the weights after the last steps; the statistics are computed anew from the training images

Sources: Polyak and Juditsky 1992; Izmailov et al. 2018, arXiv 1803.05407, algorithm 1 (swa). The decay is warmed up as
in TensorFlow's `ExponentialMovingAverage`.
Departs: Izmailov et al. keep the learning rate high while they average; here it follows the run's schedule.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from distill_worker.config.training_section import Training
from distill_worker.training.network.statistics_anew import compute_statistics
from distill_worker.training.ranks.group import Ranks
from distill_worker.training.training_set import TrainingSet


class Averaging:
    """The average of a network's weights as the training configures it; with `none` it does nothing.

    Every rank keeps the same one, and all must make the same calls.
    """

    def __init__(self, network: nn.Module, data: TrainingSet, training: Training, steps: int, ranks: Ranks) -> None:
        """`steps` are those of the whole training."""
        self._network = network
        self._data = data
        self._training = training
        self._ranks = ranks
        self._skipped = int(training.averaging_start * steps) if training.averaging == "swa" else 0
        self._averages = {} if training.averaging == "none" else copied(network.state_dict())
        self._averaged_steps = 0

    def update(self, step: int) -> None:
        """Add the weights after this step, counted from 1."""
        if not self._averages or step <= self._skipped:
            return
        self._averaged_steps += 1
        weight = 1 / self._averaged_steps
        if self._training.averaging == "ema":
            weight = 1 - min(self._training.averaging_decay, (1 + step) / (10 + step))
        values = self._network.state_dict()
        floating = [name for name, value in values.items() if value.is_floating_point()]
        torch._foreach_lerp_([self._averages[name] for name in floating], [values[name] for name in floating], weight)
        for name in values.keys() - set(floating):
            self._averages[name].copy_(values[name])

    def use(self) -> None:
        """Give the network the averaged weights. It must be in training mode, but for its frozen parts."""
        if not self._averaged_steps:
            return
        self._network.load_state_dict(self._averages)
        if self._training.averaging == "swa":
            compute_statistics(self._network, self._data, self._ranks)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let the network have the averaged weights in the block; afterwards it has its own again."""
        if not self._averaged_steps:
            yield
            return
        own = copied(self._network.state_dict())
        try:
            self.use()
            yield
        finally:
            self._network.load_state_dict(own)

    def state(self) -> dict[str, Any]:
        """The state to store in a checkpoint."""
        return {"averages": self._averages, "averaged_steps": self._averaged_steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        for name, average in self._averages.items():
            average.copy_(state["averages"][name])
        self._averaged_steps = int(state["averaged_steps"])


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of the tensors of a state."""
    return {name: values.detach().clone() for name, values in state.items()}
