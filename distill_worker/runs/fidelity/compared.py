"""A student beside its teacher, sample by sample."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from distill_worker.data.preprocessing import Preprocessing
from distill_worker.training.evaluate import log_probabilities_of
from distill_worker.training.finished.fidelity import divergences, fidelity_with_intervals
from distill_worker.training.network.errors import training_errors


class Compared(NamedTuple):
    """What a student and its teacher have in common on some samples."""

    agree: Tensor
    """bool `[samples]`: whether both have the same likeliest class."""
    divergence: Tensor
    """KL(teacher || student), in nats, float64 `[samples]`."""

    @classmethod
    def of(cls, network: nn.Module, images: Tensor, teacher: Tensor, view: Preprocessing) -> "Compared":
        """Compare a network with a teacher on images that are not augmented.

        Args:
            network: the student.
            images: uint8 `[images, channels, height, width]`, at least one, on the device of the student.
            teacher: its logits or log-probabilities, `[images, classes]`.
            view: gives the mean and the standard deviation of the pixels.

        Raises:
            ConfigError: the network fails.
        """
        with training_errors("the student to classify held-out images"):
            student = log_probabilities_of(network, images, mean=view.mean, std=view.std, resize=view.size)
        expected = teacher.cpu().double().log_softmax(dim=1)
        return cls(expected.argmax(dim=1) == student.argmax(dim=1), divergences(expected, student))

    @classmethod
    def together(cls, parts: "list[Compared]") -> "Compared":
        """All samples of several parts."""
        return cls(torch.cat([part.agree for part in parts]), torch.cat([part.divergence for part in parts]))

    def facts(self) -> dict[str, Any]:
        """The figures and their intervals, JSON-able."""
        return fidelity_with_intervals(self.agree, self.divergence)
