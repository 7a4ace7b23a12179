"""The file of a whole network as a program of torch.export, with a card in it."""

import io

import torch
from torch import nn

from shared.networks.foreign import described
from shared.networks.tracing import TRACED, traced_network
from shared.weights import CARD, WeightsCard


def traced_archive(network: nn.Module, card: WeightsCard) -> bytes:
    """The file of a program that computes the network's logits, for batches of any size, with a card in it.

    Raises:
        ValueError: PyTorch cannot trace the network.
    """
    images = torch.zeros(TRACED, card.in_channels, *(card.resize or card.image_size))
    file = io.BytesIO()
    try:
        torch.export.save(traced_network(network, images), file, extra_files={CARD: card.model_dump_json()})
    except Exception as error:  # the network, and PyTorch's tracer, may raise anything
        raise ValueError(
            f"network: {type(network).__name__} cannot be saved as a program of torch.export ({described(error)}); "
            "name it with --network, as torchvision:NAME or as file.py:FACTORY, which keeps its tensors alone"
        ) from error
    return file.getvalue()
