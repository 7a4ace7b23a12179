"""A network as a graph: what the formats that hold its computation have in common."""

import io
import logging
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Final

import torch
from torch import Tensor, nn

from distill_worker.training.finished.student import FinishedStudent
from shared.networks.outputs import logits_of

INPUT: Final = "images"
"""The name of the input of an exported graph: float32 `[batch, channels, height, width]`, normalised."""
OUTPUT: Final = "logits"
"""The name of its output: float32 `[batch, classes]`."""
_TRACED: Final = 2
"""Images in the batch that is traced: one would be taken for a fixed size."""

Run = Callable[[Tensor], Tensor]
"""An opened file: from the network's input to its logits."""


class _LogitsAlone(nn.Module):
    """A network that returns its logits and nothing else, however the network inside returns them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return logits_of(self.network(images)).float()


def traced(student: FinishedStudent) -> torch.export.ExportedProgram:
    """The graph from the network's input to its logits, for batches of any size.

    What PyTorch prints and logs of a network that cannot be traced is in its error, too, and not shown.

    Raises:
        Exception: whatever the network or `torch.export` raises.
    """
    black = torch.zeros(_TRACED, *student.image_shape, dtype=torch.uint8)
    before, shown_nowhere = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(shown_nowhere), redirect_stderr(shown_nowhere):
            return torch.export.export(
                _LogitsAlone(student.network),
                (student.inputs(black),),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    finally:
        logging.disable(before)
