"""Statistics of batch normalisation from all training images, for weights that no step has used.

Layers of batch normalisation of torch are meant; other layers that keep statistics are left as they are.
"""

from collections.abc import Iterator
from math import ceil
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from distill_worker.training.network.errors import training_errors
from distill_worker.training.ranks.group import Ranks
from distill_worker.training.ranks.network import follow_first
from distill_worker.training.ranks.rows import own_rows
from distill_worker.training.training_set import TrainingSet
from shared.networks.draws import draws_from

_BATCH_SIZE: Final = 500
_SEED: Final = 0
"""For the networks that draw even in evaluation mode."""


def compute_statistics(network: nn.Module, data: TrainingSet, ranks: Ranks) -> None:
    """Give the layers that are in training mode the mean statistics of batches of all training images.

    The images are as they are at test, not augmented, and pass in float32. All ranks must call it. Evaluation mode is
    left on.
    """
    layers = [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
    ]
    network.eval()
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.train()
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over the batches
    with draws_from(_SEED), torch.no_grad(), training_errors("the network to pass the training images"):
        for images in _batches(data) if layers else ():
            network(data.preprocessing.normalised(own_rows(ranks, images)))
    follow_first(ranks, network)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()


def _batches(data: TrainingSet) -> Iterator[Tensor]:
    """All images that the student learns from, uint8, in batches whose sizes differ by one at most."""
    others = torch.empty(0, dtype=torch.int64)
    images = data.images
    if data.pool is not None:
        images, others = data.pool.images, torch.arange(len(data.pool.images), device=images.device)
    elif data.unbought is not None:
        images, others = data.unbought.images, data.unbought.positions
    count = len(data) + len(others)
    batches = ceil(count / _BATCH_SIZE)
    for batch in range(batches):
        start, stop = (edge * count // batches for edge in (batch, batch + 1))
        more = others[max(0, start - len(data)) : max(0, stop - len(data))]
        yield torch.cat([data.images[start:stop], images[more]]) if len(others) else data.images[start:stop]
