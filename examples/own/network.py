"""A network of your own: any module that maps images [batch, channels, height, width] to logits [batch, classes]."""

from torch import nn


def small_network(num_classes: int, in_channels: int) -> nn.Module:
    """Three convolutions and a linear classifier."""
    layers: list[nn.Module] = []
    for before, after in ((in_channels, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))
