"""A network as a graph: what the formats that hold its computation have in common."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from distill_worker.training.finished.student import FinishedStudent
from shared.networks.outputs import logits_of

INPUT: Final = "images"
"""The name of the input of an exported graph: float32 `[batch, channels, height, width]`, normalised."""
OUTPUT: Final = "logits"
"""The name of its output: float32 `[batch, classes]`."""

Run = Callable[[Tensor], Tensor]
"""An opened file: from the network's input to its logits."""


class LogitsAlone(nn.Module):
    """A network that returns its logits and nothing else, however the network inside returns them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """The logits."""
        return logits_of(self.network(images))


def example_inputs(student: FinishedStudent) -> tuple[Tensor]:
    """Inputs to trace a network with: two black images, because a batch of one is often taken for a fixed size."""
    return (student.inputs(torch.zeros(2, *student.image_shape, dtype=torch.uint8)),)


def free_batch() -> tuple[dict[int, torch.export.Dim]]:
    """The dimensions of the inputs whose size is left open: that of the batch."""
    return ({0: torch.export.Dim("batch")},)
