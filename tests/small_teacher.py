"""A small network that nobody trained, in a weights file: a teacher for tests."""

from pathlib import Path
from typing import Any

from shared.networks import build_network
from shared.weights import WeightsCard, weights_bytes


def small_card(num_classes: int = 10, **stated: Any) -> WeightsCard:
    """The card of a resnet8 for grey images of 8x8; `stated` are other values of it."""
    return WeightsCard(
        **{
            "network": "resnet8",
            "num_classes": num_classes,
            "in_channels": 1,
            "image_size": (8, 8),
            "mean": (0.5,),
            "std": (0.5,),
            "class_names": tuple("0123456789"[:num_classes]),
            **stated,
        }
    )


def small_teacher(path: Path, num_classes: int = 10, **stated: Any) -> Path:
    """Write the file, with weights that are drawn; its path."""
    card = small_card(num_classes, **stated)
    network = build_network(card.network, num_classes=card.num_classes, in_channels=card.in_channels)
    path.write_bytes(weights_bytes(network, card))
    return path
