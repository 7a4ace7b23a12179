"""A network small enough for its weights and checkpoints to be kept in the repository."""

from torch import nn


def tiny(num_classes: int, in_channels: int) -> nn.Module:
    """Two convolutions and a linear classifier: about 1,500 parameters."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, num_classes),
    )
