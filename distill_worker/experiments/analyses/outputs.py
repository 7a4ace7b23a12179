"""The outputs of a student, and of its teacher where the weights are at hand, on images."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from distill_worker.data.class_names import class_order
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.data.selection.features import outputs_of
from distill_worker.errors import ConfigError, WeightsFileError
from distill_worker.training.finished.student import FinishedStudent
from shared.degradation import degrade


@dataclass(frozen=True)
class Outputs:
    """What a network says of some images."""

    logits: Tensor
    """float32 `[samples, classes]`, finite."""
    features: Tensor
    """float32 `[samples, width]`: what its last layer takes."""

    @property
    def log_probabilities(self) -> Tensor:
        """float64 `[samples, classes]`."""
        return self.logits.double().log_softmax(dim=1)


def outputs(trained: FinishedStudent, images: Tensor) -> Outputs:
    """A network's outputs for uint8 `[samples, channels, height, width]`, in its own order of classes, on the CPU.

    Raises:
        ConfigError: the network has no linear layer; WeightsFileError: a logit is not finite.
    """
    logits, features = outputs_of(trained.network, trained.card, images, setting=str(trained.weights))
    if trained.card.degradation is not None:
        logits = degrade(logits, images.numpy(), trained.card.degradation)
    if not np.isfinite(logits).all():
        raise WeightsFileError(f"{trained.weights}: expected finite logits, got others; the training has diverged")
    return Outputs(torch.from_numpy(logits), torch.from_numpy(features))


def outputs_of_teacher(teacher: FinishedStudent, dataset: Dataset, device: torch.device) -> Outputs:
    """The outputs of a teacher's network for the test images, in the data's order of classes; computed on a device.

    Raises:
        ConfigError: the network takes other images or classes, or as `outputs`; WeightsFileError: as `outputs`.
    """
    if teacher.image_shape != dataset.image_shape:
        raise ConfigError(
            f"--teacher-weights: expected a network for images of shape {list(dataset.image_shape)}, as those of "
            f"{dataset.name}, got one for {list(teacher.image_shape)} in {teacher.weights}"
        )
    order = class_order(
        dataset.class_names,
        teacher.card.class_names,
        network="the teacher",
        remedy="name the weights of another teacher by --teacher-weights",
        is_named=dataset.classes_are_named,
    )
    with placed(teacher, device):
        of_teacher = outputs(teacher, dataset.test.images)
    return of_teacher if order is None else replace(of_teacher, logits=of_teacher.logits[:, order])


@contextmanager
def placed(trained: FinishedStudent, device: torch.device) -> Iterator[None]:
    """Put a network on a device, and back on the CPU after."""
    trained.network.to(device)
    try:
        yield
    finally:
        trained.network.cpu()
