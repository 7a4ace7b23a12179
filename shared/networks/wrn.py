"""Wide residual networks with pre-activation blocks.

Source: Zagoruyko and Komodakis 2016, arXiv 1605.07146, table 1, without dropout.
Departs: pooling is global rather than over a fixed 8x8 window, so any input from 8x8 up fits.
"""

from torch import Tensor, nn
from torch.nn.functional import relu

from shared.networks.initialisation import initialise


def wide_resnet(depth: int, width: int, num_classes: int, in_channels: int) -> nn.Module:
    """`wrn_<depth>_<width>`: stages of 16, 32, 64 channels, times the width."""
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(f"network: a wide resnet has depth 6 n + 4 (10, 16, 22, 28, 40), got {depth}")
    if width < 1:
        raise ValueError(f"network: a wide resnet has width 1 or more, got {width}")
    return _WideResNet((depth - 4) // 6, width, num_classes, in_channels)


class _WideResNet(nn.Module):
    def __init__(self, blocks: int, width: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        layers: list[nn.Module] = []
        previous = 16
        for index, channels in enumerate(width * base for base in (16, 32, 64)):
            for block in range(blocks):
                layers.append(_Block(previous, channels, 2 if index > 0 and block == 0 else 1))
                previous = channels
        self.blocks = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(previous)
        self.classifier = nn.Linear(previous, num_classes)
        self.taps = {f"stage{index + 1}": f"blocks.{(index + 1) * blocks - 1}" for index in range(3)}
        self.taps["pooled"] = "classifier:input"
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        features = relu(self.norm(self.blocks(self.conv(images))))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.project = in_channels != channels or stride != 1
        if self.project:
            self.shortcut = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        activated = relu(self.norm1(images))
        hidden: Tensor = self.conv2(relu(self.norm2(self.conv1(activated))))
        shortcut: Tensor = self.shortcut(activated) if self.project else images
        return hidden + shortcut
