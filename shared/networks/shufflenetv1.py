"""ShuffleNet: grouped pointwise convolutions, with a channel shuffle so that the groups hear of each other.

Source: Zhang et al. 2018, arXiv 1707.01083, figure 2 and table 1 (3 groups, width 1), behind the stem that the
distillation literature gives it on 32x32 images: one 1x1 convolution at full resolution (Tian et al. 2020, arXiv
1910.10699). As there, the bottleneck of a block that halves the image is a quarter of what its convolutions add to the
concatenation, weights begin as torch's layers do, and a ReLU follows the depthwise convolution.
Departs: pooling is global rather than over a fixed 4x4 window, so any input from 8x8 up fits.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu

_GROUPS = 3
_STEM = 24
_STAGES = ((240, 4), (480, 8), (960, 4))
"""Output channels and number of blocks; the first block of each halves the image."""


def shufflenetv1(num_classes: int, in_channels: int) -> nn.Module:
    """`shufflenetv1`: three stages of 240, 480, 960 channels."""
    return _ShuffleNetV1(num_classes, in_channels)


def shuffle(features: Tensor, groups: int) -> Tensor:
    """Channels of `[batch, channels, height, width]` dealt out anew.

    With n channels a group, channel `g n + i` goes to place `i groups + g`.
    """
    batch, channels, height, width = features.shape
    grouped = features.reshape(batch, groups, channels // groups, height, width)
    return grouped.transpose(1, 2).reshape(features.shape)


class _ShuffleNetV1(nn.Module):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, _STEM, 1, bias=False)
        self.norm = nn.BatchNorm2d(_STEM)
        stages: list[nn.Module] = []
        previous = _STEM
        for channels, blocks in _STAGES:
            halving = _Block(previous, channels - previous, halve=True)
            stages.append(nn.Sequential(halving, *(_Block(channels, channels, halve=False) for _ in range(blocks - 1))))
            previous = channels
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(previous, num_classes)
        self.taps = {f"stage{index + 1}": f"stages.{index}" for index in range(3)} | {"pooled": "classifier:input"}

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.stages(relu(self.norm(self.conv(images))))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    def __init__(self, in_channels: int, channels: int, *, halve: bool) -> None:
        super().__init__()
        bottleneck = channels // 4
        self.halve = halve
        self.groups = 1 if in_channels == _STEM else _GROUPS  # the stem's channels are too few to be grouped
        self.conv1 = nn.Conv2d(in_channels, bottleneck, 1, groups=self.groups, bias=False)
        self.norm1 = nn.BatchNorm2d(bottleneck)
        stride = 2 if halve else 1
        self.depthwise = nn.Conv2d(bottleneck, bottleneck, 3, stride=stride, padding=1, groups=bottleneck, bias=False)
        self.norm2 = nn.BatchNorm2d(bottleneck)
        self.conv3 = nn.Conv2d(bottleneck, channels, 1, groups=_GROUPS, bias=False)
        self.norm3 = nn.BatchNorm2d(channels)

    def forward(self, images: Tensor) -> Tensor:
        hidden = shuffle(relu(self.norm1(self.conv1(images))), self.groups)
        hidden = relu(self.norm2(self.depthwise(hidden)))
        added: Tensor = self.norm3(self.conv3(hidden))
        if self.halve:
            return relu(torch.cat([added, avg_pool2d(images, 3, stride=2, padding=1)], dim=1))
        return relu(added + images)
