"""CIFAR-style VGG networks with batch normalisation: five stages, then global average pooling and one linear layer.

Source: Simonyan and Zisserman 2015, arXiv 1409.1556, table 1 (A, B, D, E), cut down for 32x32 images as throughout the
distillation literature (Tian et al. 2020, arXiv 1910.10699), which adds vgg8: one convolution a stage.
Departs: the fourth stage is followed by a pool for every image of 64x64 or more, not for a height of exactly 64 alone.
"""

from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from shared.networks.initialisation import initialise, initialise_classifier

_CHANNELS = (64, 128, 256, 512, 512)
_CONVOLUTIONS = {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


def vgg(depth: int, num_classes: int, in_channels: int) -> nn.Module:
    """`vgg<depth>`: a max-pool halves the image after each of the first three stages."""
    if depth not in _CONVOLUTIONS:
        raise ValueError(f"network: a CIFAR vgg has depth 8, 11, 13, 16 or 19, got {depth}")
    return _Vgg(_CONVOLUTIONS[depth], num_classes, in_channels)


class _Vgg(nn.Module):
    def __init__(self, convolutions: tuple[int, ...], num_classes: int, in_channels: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        previous = in_channels
        for channels, count in zip(_CHANNELS, convolutions, strict=True):
            layers: list[nn.Module] = []
            for _ in range(count):
                layers += [nn.Conv2d(previous, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
                previous = channels
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(previous, num_classes)
        self.taps = {f"stage{index + 1}": f"stages.{index}" for index in range(5)} | {"pooled": "classifier:input"}
        initialise(self)
        initialise_classifier(self.classifier)

    def forward(self, images: Tensor) -> Tensor:
        pools = 4 if min(images.shape[2:]) >= 64 else 3
        features = images
        for index, stage in enumerate(self.stages):
            features = stage(features)
            if index < pools:
                features = max_pool2d(features, 2)
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits
