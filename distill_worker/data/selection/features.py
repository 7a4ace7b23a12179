"""The features of samples, for distances: pixels, or the inputs of a network's last layer."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distill_worker.errors import ConfigError
from shared.networks.draws import draws_from
from shared.networks.taps import forward_with_features, named_taps
from shared.normalise import normalise
from shared.weights import WeightsCard, WeightsError, load_weights

_BATCH_SIZE = 500
_SEED = 0
"""For the networks that draw even in evaluation mode."""
_PENULTIMATE = "pooled"

Floats = NDArray[np.float32]


def pixels(images: Tensor) -> Floats:
    """uint8 `[N, channels, height, width]` as float32 `[N, d]`, from 0 to 255."""
    flat: Floats = images.flatten(1).numpy().astype(np.float32)
    return flat


def features_of(file: Path, images: Tensor, *, setting: str = "budget.features") -> Floats:
    """The inputs of the last layer of the network in a weights file, for every image, float32 `[N, d]`.

    Args:
        file: the weights file.
        images: uint8 `[N, channels, height, width]`, on the device that computes.
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
    return outputs_of(network.to(images.device), card, images, setting=setting)[1]


def weights_at(file: Path, *, setting: str) -> tuple[WeightsCard, nn.Module, str]:
    """The card, the network and the fingerprint of the weights file that a setting names. Raises `ConfigError`."""
    try:
        return load_weights(file)
    except WeightsError as error:
        raise ConfigError(f"{setting}: {error}") from error


def outputs_of(
    network: nn.Module, card: WeightsCard, images: Tensor, *, setting: str = "budget.strategy"
) -> tuple[Floats, Floats]:
    """A network's logits `[N, classes]` and the inputs of its last layer `[N, d]`, float32; leaves eval mode on.

    Raises:
        ConfigError: the network has no linear layer.
    """
    layer = penultimate(network, setting=setting)
    device = next(network.parameters()).device
    logits, features = [], []
    network.eval()
    with draws_from(_SEED), torch.inference_mode():
        for batch in torch.split(images, _BATCH_SIZE):
            inputs = normalise(batch.to(device), card.mean, card.std, size=card.resize)
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
