"""Layers spelt out, fed with a network's tensors in the order in which its weights file lists them."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d


def lived_in(network: nn.Module) -> nn.Module:
    """In evaluation mode, with normalisations that look as after some training rather than like the identity."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                assert values is not None
                nn.init.uniform_(values, 0.5, 1.5)
    return network.eval()


def tensors_of(network: nn.Module) -> Iterator[Tensor]:
    """Weights, biases, means and variances; the normalisations' counts of steps are left out."""
    return iter([values for values in network.state_dict().values() if values.is_floating_point()])


def convolved(
    images: Tensor, tensors: Iterator[Tensor], *, stride: int = 1, groups: int = 1, biased: bool = False
) -> Tensor:
    """The next convolution, padded to keep the size at stride 1, and the normalisation behind it."""
    weight = next(tensors)
    bias = next(tensors) if biased else None
    images = conv2d(images, weight, bias, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
    weight, bias, mean, variance = (next(tensors) for _ in range(4))
    return batch_norm(images, mean, variance, weight, bias, training=False)


def shuffled(images: Tensor, groups: int) -> Tensor:
    """The first channel of each group, then the second of each, and so on."""
    size = images.shape[1] // groups
    return torch.stack([images[:, group * size + place] for place in range(size) for group in range(groups)], dim=1)
