"""A whole network as a program of torch.export, which needs the network's own code no more."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Final

import torch
from torch import Tensor, nn

from shared.networks.foreign import described
from shared.networks.outputs import logits_of
from shared.weights import CARD, WeightsCard

_TRACED: Final = 2
"""Images in the batch that is traced: one would be taken for a fixed size."""


class _LogitsAlone(nn.Module):
    """A network that returns its logits and nothing else, however the network inside returns them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return logits_of(self.network(images)).float()


def traced_archive(network: nn.Module, card: WeightsCard) -> bytes:
    """The file of a program that computes the network's logits, for batches of any size, with a card in it.

    Raises:
        ValueError: PyTorch cannot trace the network.
    """
    images = torch.zeros(_TRACED, card.in_channels, *(card.resize or card.image_size))
    file = io.BytesIO()
    try:
        with _quiet():
            program = torch.export.export(
                _LogitsAlone(network), (images,), dynamic_shapes=({0: torch.export.Dim("batch")},)
            )
            torch.export.save(program, file, extra_files={CARD: card.model_dump_json()})
    except Exception as error:  # the network, and PyTorch's tracer, may raise anything
        raise ValueError(
            f"network: {type(network).__name__} cannot be saved as a program of torch.export ({described(error)}); "
            "name it with --network, as torchvision:NAME or as file.py:FACTORY, which keeps its tensors alone"
        ) from error
    return file.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """What PyTorch prints and logs of a network that cannot be traced is in its error, too, and not shown."""
    before, shown_nowhere = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(shown_nowhere), redirect_stderr(shown_nowhere):
            yield
    finally:
        logging.disable(before)
