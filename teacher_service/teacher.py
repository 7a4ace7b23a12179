"""The model behind the service: weights from a file, preprocessing from its card, on CUDA when there is one."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from shared.normalise import normalise
from shared.weights import WeightsCard, load_weights


class Teacher:
    """A network in evaluation mode on one device. Not thread-safe: one thread runs it."""

    def __init__(self, weights: Path, device: str = "auto") -> None:
        """Raises `WeightsError` for a bad file, `ValueError` when CUDA is asked for and absent."""
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device: expected a CUDA device, found none; use `auto` or `cpu`")
        self.device = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        self.card: WeightsCard
        self.card, network, self.fingerprint = load_weights(weights)
        self._network = network.to(self.device)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of the images that the network takes."""
        return (self.card.in_channels, *self.card.image_size)

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits, float32 `[samples, num_classes]`, of raw pixels, uint8 `[samples, channels, height, width]`."""
        with torch.inference_mode():
            pixels = torch.from_numpy(np.require(images, requirements=["C", "W"])).to(self.device)
            logits = self._network(normalise(pixels, self.card.mean, self.card.std))
            result: NDArray[np.float32] = logits.float().cpu().numpy()
        return result
