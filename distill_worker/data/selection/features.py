"""The features of samples, for distances: pixels, gradients, or the inputs of a network's last layer."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from distill_worker.errors import ConfigError
from shared.networks.draws import draws_from
from shared.networks.taps import forward_with_features, named_taps
from shared.normalise import normalise
from shared.weights import WeightsCard, WeightsError, load_weights

_BATCH_SIZE = 500
_SEED = 0
"""For the networks that draw even in evaluation mode."""
_PENULTIMATE = "pooled"
_ORIENTATIONS = 8
_CELLS = 7
"""Of the grid, in each direction."""
_SMALLEST, _LARGEST = 16, 64
"""Pixels of a side; smaller images are enlarged, larger ones reduced."""

Floats = NDArray[np.float32]


def pixels(images: Tensor) -> Floats:
    """uint8 `[N, channels, height, width]` as float32 `[N, d]`, from 0 to 255."""
    flat: Floats = images.flatten(1).numpy().astype(np.float32)
    return flat


def gradients(images: Tensor) -> Floats:
    """As `gradients_of`, of uint8 `[N, channels, height, width]`."""
    return gradients_of(torch.split(images, _BATCH_SIZE))


def gradients_of(batches: Iterable[Tensor]) -> Floats:
    """Histograms of oriented gradients: which edges there are, and where; float32 `[N, 392]`, each of length 1.

    For every cell of a 7x7 grid, the gradient magnitude of the mean of the channels, smoothed by 3x3, in 8 orientations
    from 0 to 180 degrees, shared between the two nearest ones; then the square root of its share of the image.

    Args:
        batches: of N images in all, uint8 `[batch, channels, height, width]`.

    Source: Dalal and Triggs 2005. *Departs*: no blocks; the whole image is normalised, by L1-sqrt.
    """
    histograms = [_histograms(batch.float().mean(dim=1, keepdim=True)) for batch in batches]
    shares = functional.normalize(torch.cat(histograms).flatten(1), p=1)
    features: Floats = shares.sqrt().cpu().numpy()
    return features


def _histograms(grey: Tensor) -> Tensor:
    """`[N, 8, 7, 7]` of images `[N, 1, height, width]`."""
    if max(grey.shape[2:]) > _LARGEST:
        height, width = (min(_LARGEST, side) for side in grey.shape[2:])
        grey = functional.adaptive_avg_pool2d(grey, (height, width))
    if min(grey.shape[2:]) < _SMALLEST:
        size = [max(_SMALLEST, side) for side in grey.shape[2:]]
        grey = functional.interpolate(grey, size=size, mode="bilinear")
    smooth = functional.avg_pool2d(functional.pad(grey, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    framed = functional.pad(smooth, (1, 1, 1, 1), mode="replicate")
    across = framed[:, :, 1:-1, 2:] - framed[:, :, 1:-1, :-2]
    down = framed[:, :, 2:, 1:-1] - framed[:, :, :-2, 1:-1]
    magnitude = torch.hypot(across, down)
    place = torch.atan2(down, across).remainder(math.pi) / math.pi * _ORIENTATIONS
    lower = place.floor()
    upper_share = place - lower
    histogram = magnitude.new_zeros(len(grey), _ORIENTATIONS, *grey.shape[2:])
    histogram.scatter_add_(1, lower.long() % _ORIENTATIONS, magnitude * (1 - upper_share))
    histogram.scatter_add_(1, (lower.long() + 1) % _ORIENTATIONS, magnitude * upper_share)
    return functional.adaptive_avg_pool2d(histogram, _CELLS)


def features_of(file: Path, images: Tensor, *, rows: Tensor | None = None, setting: str = "budget.features") -> Floats:
    """The inputs of the last layer of the network in a weights file, for every image, float32 `[N, d]`.

    Args:
        file: the weights file.
        images: uint8 `[N, channels, height, width]`, on the device that computes.
        rows: those of the images that count, in their order; None for all.
        setting: names the file in errors.

    Raises:
        ConfigError: the file is no weights file, or is for other images.
    """
    card, network, _ = weights_at(file, setting=setting)
    expected = (card.in_channels, *card.image_size)
    if tuple(images.shape[1:]) != expected:
        raise ConfigError(
            f"{setting}: expected a network for images of shape {list(images.shape[1:])}, got one for "
            f"{list(expected)} in {file}"
        )
    return outputs_of(network.to(images.device), card, images, rows=rows, setting=setting)[1]


def weights_at(file: Path, *, setting: str) -> tuple[WeightsCard, nn.Module, str]:
    """The card, the network and the fingerprint of the weights file that a setting names. Raises `ConfigError`."""
    try:
        return load_weights(file)
    except WeightsError as error:
        raise ConfigError(f"{setting}: {error}") from error


def outputs_of(
    network: nn.Module,
    card: WeightsCard,
    images: Tensor,
    *,
    rows: Tensor | None = None,
    setting: str = "budget.strategy",
) -> tuple[Floats, Floats]:
    """A network's logits `[N, classes]` and the inputs of its last layer `[N, d]`, float32; leaves eval mode on.

    Images may be mapped from a file: those of a batch alone are in memory.

    Raises:
        ConfigError: the network has no linear layer.
    """
    layer = penultimate(network, setting=setting)
    device = next(network.parameters()).device
    logits, features = [], []
    network.eval()
    with draws_from(_SEED), torch.inference_mode():
        for part in torch.split(torch.arange(len(images)) if rows is None else rows, _BATCH_SIZE):
            inputs = normalise(images[part].to(device), card.mean, card.std, size=card.resize)
            out, taps = forward_with_features(network, inputs, (layer,))
            logits.append(out.float().cpu())
            features.append(taps[layer].flatten(1).float().cpu())
    return torch.cat(logits).numpy(), torch.cat(features).numpy()


def penultimate(network: nn.Module, *, setting: str = "budget.strategy") -> str:
    """The tap at the input of the network's last layer: the one that it names, or else its last linear module's.

    Raises:
        ConfigError: the network has neither.
    """
    if _PENULTIMATE in named_taps(network):
        return _PENULTIMATE
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ConfigError(f"{setting}: expected a network that ends in a linear layer, got one without any")
    return f"{linear[-1]}:input"
