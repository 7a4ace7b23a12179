"""MobileNetV2 at half width: inverted residual blocks, each a depthwise convolution between two pointwise ones.

Source: Sandler et al. 2018, arXiv 1801.04381, table 2, with expansion 6 and width 0.5, as the distillation literature
runs it on 32x32 images (Tian et al. 2020, arXiv 1910.10699): the second row keeps its resolution, ReLU takes the place
of ReLU6, the first block has a pointwise expansion too (by 1), the head keeps 1280 channels, and nothing is dropped.
Departs: pooling is global rather than over a fixed 2x2 window, so any input from 8x8 up fits.
"""

from torch import Tensor, nn
from torch.nn.functional import relu

from shared.networks.initialisation import initialise, initialise_classifier

_STEM = 16
_HEAD = 1280
_STAGES = (
    ((1, 8, 1, 1), (6, 12, 2, 1)),
    ((6, 16, 3, 2),),
    ((6, 32, 4, 2), (6, 48, 3, 1)),
    ((6, 80, 3, 2), (6, 160, 1, 1)),
)
"""By resolution: rows of expansion, output channels, number of blocks, stride of the first."""


def mobilenetv2(num_classes: int, in_channels: int) -> nn.Module:
    """`mobilenetv2`: the stem halves the image, and so does each stage after the first."""
    return _MobileNetV2(num_classes, in_channels)


class _MobileNetV2(nn.Module):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, _STEM, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(_STEM)
        stages: list[nn.Module] = []
        previous = _STEM
        for rows in _STAGES:
            stage: list[nn.Module] = []
            for expansion, channels, blocks, first_stride in rows:
                for block in range(blocks):
                    stage.append(_Block(previous, channels, expansion, first_stride if block == 0 else 1))
                    previous = channels
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        self.head_conv = nn.Conv2d(previous, _HEAD, 1, bias=False)
        self.head_norm = nn.BatchNorm2d(_HEAD)
        self.classifier = nn.Linear(_HEAD, num_classes)
        self.taps = {f"stage{index + 1}": f"stages.{index}" for index in range(4)} | {"pooled": "classifier:input"}
        initialise(self)
        initialise_classifier(self.classifier)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.stages(relu(self.norm(self.conv(images))))
        head = relu(self.head_norm(self.head_conv(features)))
        logits: Tensor = self.classifier(head.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    def __init__(self, in_channels: int, channels: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.expand = nn.Conv2d(in_channels, hidden, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride=stride, padding=1, groups=hidden, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.project = nn.Conv2d(hidden, channels, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(channels)
        self.residual = stride == 1 and in_channels == channels

    def forward(self, images: Tensor) -> Tensor:
        hidden = relu(self.norm1(self.expand(images)))
        hidden = relu(self.norm2(self.depthwise(hidden)))
        projected: Tensor = self.norm3(self.project(hidden))
        return images + projected if self.residual else projected
