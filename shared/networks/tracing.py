"""A network as a program of torch.export, which needs the network's own code no more."""

import io
import logging
from contextlib import redirect_stderr, redirect_stdout
from typing import Final

import torch
from torch import Tensor, nn

from shared.networks.outputs import logits_of

TRACED: Final = 2
"""Images in the batch that is traced: one would be taken for a fixed size."""


class _LogitsAlone(nn.Module):
    """A network that returns its logits and nothing else, however the network inside returns them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return logits_of(self.network(images)).float()


def traced_network(network: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    """The program that computes the network's logits, float32 `[batch, classes]`, for batches of any size.

    What PyTorch prints and logs of a network that cannot be traced is in its error, too, and not shown.

    Args:
        network: traced in evaluation mode.
        images: `TRACED` of them, float32 `[batch, channels, height, width]`, normalised.

    Raises:
        Exception: whatever the network or `torch.export` raises.
    """
    before, shown_nowhere = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(shown_nowhere), redirect_stderr(shown_nowhere):
            return torch.export.export(
                _LogitsAlone(network), (images,), dynamic_shapes=({0: torch.export.Dim("batch")},)
            )
    finally:
        logging.disable(before)
