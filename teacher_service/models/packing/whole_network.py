"""A network that is in memory, with its code: its card, from passes over black images."""

import torch
from torch import nn

from shared.networks.foreign import described
from shared.networks.outputs import evaluating, logits_of
from shared.weights import WeightsCard
from teacher_service.models.packing.description import Description, Shape, first_that_runs

_SAMPLES = 2


def card_of(network: nn.Module, name: str, description: Description) -> WeightsCard:
    """The card of a network.

    Args:
        network: on the CPU, float32.
        name: of the network in the card.
        description: what the network does not show.

    Raises:
        ValueError: the network fails on images of the shape that is stated, or the description is not enough.
    """

    def classes_for(shape: Shape) -> int:
        try:
            with evaluating(network):
                return logits_of(network(torch.zeros(_SAMPLES, *shape))).shape[1]
        except Exception as error:  # the user's code may raise anything
            raise ValueError(
                f"{description.origin}: expected it to take images of shape {list(shape)}, got an error from it "
                f"({described(error)}); state the right image_size and in_channels"
            ) from error

    shape, classes = first_that_runs(description.image_shapes(None, None), classes_for)
    return description.card(name, classes=classes, channels=shape[0])
