"""Sharpness: how fast the loss grows when a student's weights move in a random direction."""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from shared.networks.draws import draws_from
from shared.networks.outputs import logits_of

RADII: Final = (0.0, 0.1, 0.2, 0.3, 0.4)
"""Distances from the student, as a share of the norm of each filter."""
DIRECTIONS: Final = 5
MOST_SAMPLES: Final = 1000
_BATCH_SIZE: Final = 500


def sharpness(network: nn.Module, inputs: Tensor, labels: Tensor, *, seed: int = 0) -> dict[str, Any]:
    """The loss along random directions, JSON-able: `radii`; `losses` and `deviation`, over the directions, by radius.

    The loss is the mean cross-entropy in nats, in evaluation mode. The network and the global generators stay as they
    were.

    Args:
        network: in evaluation mode.
        inputs: what the network takes, float `[samples, ...]`, at least one sample, on the network's device.
        labels: int64 `[samples]`, likewise.
        seed: of the directions.

    Source:
        Li et al. 2018, arXiv 1712.09913, section 4.
        Departs: the mean over directions in place of a picture of one or two.
    """
    generator = torch.Generator().manual_seed(seed)
    at_rest = dict(network.named_parameters())
    losses = torch.zeros(DIRECTIONS, len(RADII), dtype=torch.float64)
    losses[:, 0] = _loss(network, at_rest, inputs, labels)
    for of_direction in losses:
        direction = filter_normalised(at_rest, generator)
        for place, radius in enumerate(RADII[1:], 1):
            moved = {name: at_rest[name].detach() + radius * step for name, step in direction.items()}
            of_direction[place] = _loss(network, moved, inputs, labels)
    return {"radii": list(RADII), "losses": losses.mean(dim=0).tolist(), "deviation": losses.std(dim=0).tolist()}


def rise(facts: dict[str, Any]) -> float:
    """By how much the mean loss is higher at the middle radius than at the student, in nats; see `sharpness`."""
    losses: list[float] = facts["losses"]
    return losses[len(losses) // 2] - losses[0]


def filter_normalised(parameters: dict[str, nn.Parameter], generator: torch.Generator) -> dict[str, Tensor]:
    """A random direction whose filters have the norms of the network's own filters, by the name of the parameter.

    A filter is what gives one output: a row of the first dimension. Biases and the parameters of normalisation, which
    have one dimension, are left out.
    """
    direction = {}
    for name, parameter in parameters.items():
        if parameter.ndim > 1 and parameter.is_floating_point():
            drawn = torch.randn(parameter.shape, generator=generator).to(parameter.device)
            norms = [values.flatten(1).norm(dim=1) for values in (parameter.detach(), drawn)]
            scale = norms[0] / norms[1]
            direction[name] = drawn * scale.reshape(-1, *[1] * (parameter.ndim - 1))
    return direction


def _loss(network: nn.Module, parameters: dict[str, Any], inputs: Tensor, labels: Tensor) -> float:
    """The mean cross-entropy of the network with these parameters in place of its own."""
    with draws_from(0), torch.inference_mode():
        parts = zip(torch.split(inputs, _BATCH_SIZE), torch.split(labels, _BATCH_SIZE), strict=True)
        losses = [
            cross_entropy(logits_of(functional_call(network, parameters, (part,))).double(), wanted, reduction="sum")
            for part, wanted in parts
        ]
        return float(torch.stack(losses).sum()) / len(labels)
