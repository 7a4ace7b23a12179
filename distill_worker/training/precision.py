"""The precision of a training: in which type of numbers the student's forward and backward pass computes.

Invariant: weights, their gradients, the optimiser, the statistics of batch normalisation and the losses are float32
with every precision; evaluation and the stored student never see another one.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from shared.networks.taps import forward_with_features

FLOAT32: Final = "float32"
BFLOAT16: Final = "bfloat16"
FLOAT16: Final = "float16"
_HALF: Final = {BFLOAT16: torch.bfloat16, FLOAT16: torch.float16}


def automatic_precision(device: torch.device) -> str:
    """The precision that `auto` stands for in a run that begins on this device: `bfloat16` or `float32`."""
    return BFLOAT16 if has_bfloat16(device) else FLOAT32


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16, so that it is faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has_units = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return has_units and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


class StudentPass:
    """The student's forward pass in one precision, as training takes it."""

    def __init__(self, network: nn.Module, layers: Sequence[str], precision: str) -> None:
        self._network = network
        self._layers = tuple(layers)
        self._half = _HALF.get(precision)

    def __call__(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The logits and features of a batch, as `forward_with_features` gives them, but never in half precision.

        Raises:
            ValueError: as `forward_with_features`.
        """
        if self._half is None:
            return forward_with_features(self._network, images, self._layers)
        with torch.autocast(images.device.type, self._half):
            logits, features = forward_with_features(self._network, images, self._layers)
        return self._whole(logits), {layer: self._whole(values) for layer, values in features.items()}

    def _whole(self, values: Tensor) -> Tensor:
        return values.float() if values.dtype == self._half else values


def loss_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """The scaler of the loss: for `float16`, whose smallest gradients would be 0; otherwise one that does nothing."""
    return torch.amp.GradScaler(device.type, enabled=precision == FLOAT16)
