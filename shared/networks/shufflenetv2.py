"""ShuffleNet V2: each block works on half of the channels and passes the other half on; a shuffle mixes the two.

Source: Ma et al. 2018, arXiv 1807.11164, figure 3 (c, d) and table 5 (width 1), behind the stem that the distillation
literature gives it on 32x32 images: one 1x1 convolution at full resolution (Tian et al. 2020, arXiv 1910.10699).
Weights begin as torch's layers do.
Departs: pooling is global rather than over a fixed 4x4 window, so any input from 8x8 up fits.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from shared.networks.shufflenetv1 import shuffle

_STEM = 24
_STAGES = ((116, 3), (232, 7), (464, 3))
"""Output channels, and number of blocks behind the one that halves the image."""
_HEAD = 1024


def shufflenetv2(num_classes: int, in_channels: int) -> nn.Module:
    """`shufflenetv2`: three stages of 116, 232, 464 channels, then a pointwise convolution to 1024."""
    return _ShuffleNetV2(num_classes, in_channels)


class _ShuffleNetV2(nn.Module):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, _STEM, 1, bias=False)
        self.norm = nn.BatchNorm2d(_STEM)
        stages: list[nn.Module] = []
        previous = _STEM
        for channels, blocks in _STAGES:
            stages.append(nn.Sequential(_Halving(previous, channels), *(_Block(channels) for _ in range(blocks))))
            previous = channels
        self.stages = nn.Sequential(*stages)
        self.head_conv = nn.Conv2d(previous, _HEAD, 1, bias=False)
        self.head_norm = nn.BatchNorm2d(_HEAD)
        self.classifier = nn.Linear(_HEAD, num_classes)
        self.taps = {f"stage{index + 1}": f"stages.{index}" for index in range(3)} | {"pooled": "classifier:input"}

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.stages(relu(self.norm(self.conv(images))))
        head = relu(self.head_norm(self.head_conv(features)))
        logits: Tensor = self.classifier(head.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = _branch(channels // 2, channels // 2, stride=1)

    def forward(self, images: Tensor) -> Tensor:
        passed, worked = images.chunk(2, dim=1)
        return shuffle(torch.cat([passed, self.branch(worked)], dim=1), 2)


class _Halving(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.shortcut = nn.Sequential(*_depthwise(in_channels, stride=2), *_pointwise(in_channels, half), nn.ReLU())
        self.branch = _branch(in_channels, half, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        return shuffle(torch.cat([self.shortcut(images), self.branch(images)], dim=1), 2)


def _branch(in_channels: int, channels: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        *_pointwise(in_channels, channels),
        nn.ReLU(),
        *_depthwise(channels, stride=stride),
        *_pointwise(channels, channels),
        nn.ReLU(),
    )


def _pointwise(in_channels: int, channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels)


def _depthwise(channels: int, *, stride: int) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False)
    return convolution, nn.BatchNorm2d(channels)
