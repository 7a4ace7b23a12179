"""CIFAR-style residual networks: three stages behind one 3x3 convolution, then global average pooling.

Source: He et al. 2016, arXiv 1512.03385, section 4.2, with the projection shortcuts (option B) and the four-times
wider variants used throughout the distillation literature (Tian et al. 2020, arXiv 1910.10699).
Departs: pooling is global rather than over a fixed 8x8 window, so any input from 8x8 up fits.
"""

from torch import Tensor, nn
from torch.nn.functional import relu

from shared.networks.initialisation import initialise


def resnet(depth: int, width: int, num_classes: int, in_channels: int) -> nn.Module:
    """`resnet<depth>` (width 1: stages of 16, 32, 64) or `resnet<depth>x4` (64, 128, 256 behind a stem of 32)."""
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"network: a CIFAR resnet has depth 6 n + 2 (8, 14, 20, 32, 44, 56, 110), got {depth}")
    stem = 16 if width == 1 else 32
    return _ResNet((depth - 2) // 6, stem, tuple(width * base for base in (16, 32, 64)), num_classes, in_channels)


class _ResNet(nn.Module):
    def __init__(self, blocks: int, stem: int, stages: tuple[int, ...], num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, stem, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(stem)
        layers: list[nn.Module] = []
        previous = stem
        for index, channels in enumerate(stages):
            strides = [1 if index == 0 else 2] + [1] * (blocks - 1)
            stage = [
                _Block(previous if block == 0 else channels, channels, stride) for block, stride in enumerate(strides)
            ]
            layers.append(nn.Sequential(*stage))
            previous = channels
        self.stages = nn.Sequential(*layers)
        self.classifier = nn.Linear(previous, num_classes)
        self.taps = {f"stage{index + 1}": f"stages.{index}" for index in range(3)} | {"pooled": "classifier:input"}
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.stages(relu(self.norm(self.conv(images))))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, images: Tensor) -> Tensor:
        hidden = relu(self.norm1(self.conv1(images)))
        return relu(self.norm2(self.conv2(hidden)) + self.shortcut(images))
