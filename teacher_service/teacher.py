"""The model behind the service: weights from a file, preprocessing from its card, on CUDA when there is one."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.degradation import degrade
from shared.networks.taps import feature_shapes, forward_with_features
from shared.normalise import normalise
from shared.weights import WeightsCard, load_weights
from teacher_service.output_policy import LOGITS

FEATURES: Final = "features."
"""What the name of an output that only some keys may see begins with; the layer follows."""


class Teacher:
    """A network in evaluation mode on one device. Not thread-safe: one thread runs it."""

    platform = "pytorch"

    def __init__(self, weights: Path, device: str = "auto", *, trust_code: bool = False) -> None:
        """Load a weights file onto a device.

        Raises:
            WeightsError: a bad file, or one that names code which is not trusted.
            ValueError: CUDA is asked for and absent, or the network cannot see images of the file's size.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device: expected a CUDA device, found none; use `auto` or `cpu`")
        self.device = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        self.card: WeightsCard
        self.card, network, self.fingerprint = load_weights(weights, trust_code=trust_code)
        self._network = network.to(self.device)
        try:
            layers = feature_shapes(self._network, self.image_shape)
        except RuntimeError as error:
            raise ValueError(
                f"{weights}: {self.card.network} cannot see images of shape {list(self.image_shape)}, which is what "
                f"the file says it takes ({error})"
            ) from error
        self.outputs: Mapping[str, tuple[int, ...]] = {LOGITS: (self.card.num_classes,)} | {
            FEATURES + layer: shape for layer, shape in layers.items()
        }
        """The shape of one sample's row of each output that there is."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of the images that the network takes."""
        return (self.card.in_channels, *self.card.image_size)

    def predict(self, images: NDArray[np.uint8], outputs: Sequence[str] = (LOGITS,)) -> NDArray[np.float32]:
        """The outputs asked for, one behind the other in one row a sample, float32 `[samples, values]`.

        Args:
            images: raw pixels, uint8 `[samples, channels, height, width]`.
            outputs: names among `self.outputs`, each at most once.
        """
        layers = [output.removeprefix(FEATURES) for output in outputs if output != LOGITS]
        with torch.inference_mode():
            pixels = torch.from_numpy(np.require(images, requirements=["C", "W"])).to(self.device)
            logits, features = forward_with_features(
                self._network, normalise(pixels, self.card.mean, self.card.std), layers
            )
            found = {LOGITS: self._degraded(logits, images)}
            found |= {FEATURES + layer: values for layer, values in features.items()}
            rows: NDArray[np.float32] = (
                torch.cat([found[output].float().flatten(1) for output in outputs], dim=1).cpu().numpy()
            )
        return rows

    def unpack(self, rows: NDArray[np.float32], outputs: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """What `predict` packed, float32 `[samples, ...]` by name, in the order in which it was asked for."""
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
