"""The interface of a model to the service, for every runtime."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import prod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.degradation import degrade
from shared.output_kinds import FEATURES, LOGITS
from shared.weights import WeightsCard


class Teacher(ABC):
    """A model on one device. Not thread-safe: one thread runs it."""

    platform: ClassVar[str]
    """The runtime of the model, as the metadata of the Open Inference Protocol names it."""

    def __init__(self, card: WeightsCard, fingerprint: str, device: str, layers: Mapping[str, tuple[int, ...]]) -> None:
        """Describe the model.

        Args:
            card: the description in the file of the model.
            fingerprint: a hash of everything that changes an output.
            device: `cpu` or `cuda`.
            layers: the shape of one sample's features at each named layer.
        """
        self.card = card
        self.fingerprint = fingerprint
        self.device = device
        self.outputs: Mapping[str, tuple[int, ...]] = {LOGITS: (card.num_classes,)} | {
            FEATURES + layer: shape for layer, shape in layers.items()
        }
        """The shape of one sample's values of each output of the model."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of the images that a request holds."""
        return (self.card.in_channels, *self.card.image_size)

    @abstractmethod
    def _forward(self, images: NDArray[np.uint8], layers: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits `[samples, classes]` and the features at each layer `[samples, ...]`, in inference mode."""

    def predict(self, images: NDArray[np.uint8], outputs: Sequence[str] = (LOGITS,)) -> NDArray[np.float32]:
        """The requested outputs, concatenated to one row for each sample, float32 `[samples, values]`.

        Args:
            images: raw pixels, uint8 `[samples, channels, height, width]`.
            outputs: names among `self.outputs`, each at most once.
        """
        layers = [output.removeprefix(FEATURES) for output in outputs if output != LOGITS]
        with torch.inference_mode():
            logits, features = self._forward(images, layers)
            by_name = {LOGITS: self._degraded(logits, images)}
            by_name |= {FEATURES + layer: values for layer, values in features.items()}
            rows: NDArray[np.float32] = (
                torch.cat([by_name[output].float().flatten(1) for output in outputs], dim=1).cpu().numpy()
            )
        return rows

    def unpack(self, rows: NDArray[np.float32], outputs: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The rows of `predict` as outputs by name, float32 `[samples, ...]`, in the order of `outputs`."""
        sizes = [prod(self.outputs[output]) for output in outputs]
        parts = np.split(rows, np.cumsum(sizes)[:-1], axis=1)
        return {
            output: part.reshape(len(rows), *self.outputs[output]) for output, part in zip(outputs, parts, strict=True)
        }

    def _degraded(self, logits: Tensor, images: NDArray[np.uint8]) -> Tensor:
        if self.card.degradation is None:
            return logits
        worse = degrade(logits.float().cpu().numpy(), images, self.card.degradation)
        return torch.from_numpy(worse).to(logits.device)
