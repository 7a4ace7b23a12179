"""The weights file that a benchmark serves: an untrained network, since speed does not depend on what it learnt."""

from pathlib import Path

import torch

from shared.networks import build_network
from shared.weights import WeightsCard, weights_bytes


def write_teacher(path: Path, network: str, in_channels: int, image_size: tuple[int, int]) -> Path:
    """Write a network of ten classes, the same one each time, as a weights file; `path`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = build_network(network, num_classes=10, in_channels=in_channels)
    card = WeightsCard(
        network=network,
        num_classes=10,
        in_channels=in_channels,
        image_size=image_size,
        mean=(0.5,) * in_channels,
        std=(0.25,) * in_channels,
        class_names=tuple("0123456789"),
    )
    path.write_bytes(weights_bytes(built, card))
    return path
