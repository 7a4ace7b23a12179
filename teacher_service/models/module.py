"""A network of PyTorch that is in memory, on CUDA if there is one: from a weights file, or handed over in Python."""

from collections.abc import Sequence
from contextlib import nullcontext
from hashlib import sha256
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.networks.outputs import check_network
from shared.networks.taps import feature_shapes, forward_with_features
from shared.normalise import normalise
from shared.weights import FINGERPRINT_LENGTH, WeightsCard
from teacher_service.models.base import Teacher

Precision = Literal["float32", "bfloat16", "float16"]
_AUTOCAST: Final = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class ModuleTeacher(Teacher):
    """A network in evaluation mode on one device."""

    platform = "pytorch"

    def __init__(
        self,
        card: WeightsCard,
        network: nn.Module,
        fingerprint: str,
        device: str = "auto",
        *,
        precision: Precision = "float32",
        pin_memory: bool = True,
    ) -> None:
        """Move a network to a device and check it by passes over black images.

        Args:
            card: what the network takes and gives.
            network: in evaluation mode; it belongs to this object from now on.
            fingerprint: a hash of everything that changes an output, but for the precision.
            device: `auto`, `cpu` or `cuda`.
            precision: other than float32, the forward pass runs under autocast. It is another teacher then, with other
                outputs and another fingerprint than in float32.
            pin_memory: whether, on CUDA, images are copied from page-locked memory.

        Raises:
            ValueError: CUDA was requested and is absent, or the network fails the check of `check_network`.
        """
        self._device = device_of(device)
        self._pins = pin_memory and self._device.type == "cuda"
        self._autocast = _AUTOCAST.get(precision)
        if self._autocast is not None:
            fingerprint = sha256(f"{fingerprint}:{precision}".encode()).hexdigest()[:FINGERPRINT_LENGTH]
        self._network = network.to(self._device)
        seen = (card.in_channels, *(card.resize or card.image_size))
        try:
            check_network(self._network, seen, card.num_classes)
            layers = feature_shapes(self._network, seen)
        except ValueError as error:
            raise ValueError(
                f"expected {card.network} to take images of shape {list(seen)}, as its description says, and to give "
                f"logits for {card.num_classes} classes, got an error ({error})"
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


def device_of(name: str) -> torch.device:
    """The device of a setting: `auto` is CUDA if there is one.

    Raises:
        ValueError: CUDA was requested and is absent.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: expected a CUDA device, got none; use `auto` or `cpu`")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
