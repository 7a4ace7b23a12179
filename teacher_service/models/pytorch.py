"""A network in PyTorch: weights from a safetensors file, preprocessing from its card, on CUDA if there is one."""

from collections.abc import Sequence
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.networks.outputs import check_network
from shared.networks.taps import feature_shapes, forward_with_features
from shared.normalise import normalise
from shared.weights import FINGERPRINT_LENGTH, load_weights
from teacher_service.models.base import Teacher

Precision = Literal["float32", "bfloat16", "float16"]
_AUTOCAST: Final = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchTeacher(Teacher):
    """A network in evaluation mode on one device."""

    platform = "pytorch"

    def __init__(
        self,
        weights: Path,
        device: str = "auto",
        *,
        trust_code: bool = False,
        precision: Precision = "float32",
        pin_memory: bool = True,
    ) -> None:
        """Load a weights file onto a device.

        Args:
            weights: a self-describing safetensors file.
            device: `auto`, `cpu` or `cuda`.
            trust_code: whether the file may name code that is then imported.
            precision: other than float32, the forward pass runs under autocast. It is another teacher then, with other
                outputs and another fingerprint than in float32.
            pin_memory: whether, on CUDA, images are copied from page-locked memory.

        Raises:
            WeightsError: a bad file, or one that names code which is not trusted.
            ValueError: CUDA was requested and is absent, or the network fails the check of `check_network`.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device: expected a CUDA device, got none; use `auto` or `cpu`")
        self._device = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        self._pins = pin_memory and self._device.type == "cuda"
        self._autocast = _AUTOCAST.get(precision)
        card, network, fingerprint = load_weights(weights, trust_code=trust_code)
        if self._autocast is not None:
            fingerprint = sha256(f"{fingerprint}:{precision}".encode()).hexdigest()[:FINGERPRINT_LENGTH]
        self._network = network.to(self._device)
        seen = (card.in_channels, *(card.resize or card.image_size))
        try:
            check_network(self._network, seen, card.num_classes)
            layers = feature_shapes(self._network, seen)
        except ValueError as error:
            raise ValueError(
                f"{weights}: expected {card.network} to take images of shape {list(seen)}, as the file says, and to "
                f"give logits for {card.num_classes} classes, got an error ({error}); correct the card of the file"
            ) from error
        super().__init__(card, fingerprint, self._device.type, layers)

    def _forward(self, images: NDArray[np.uint8], layers: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        pixels = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        if self._pins:
            pixels = pixels.pin_memory()
        seen = normalise(
            pixels.to(self._device, non_blocking=self._pins), self.card.mean, self.card.std, size=self.card.resize
        )
        with nullcontext() if self._autocast is None else torch.autocast(self._device.type, self._autocast):
            return forward_with_features(self._network, seen, layers)
