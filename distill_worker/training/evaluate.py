"""Top-1 accuracy of a network on held-out images."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from shared.degradation import Degradation, degrade
from shared.networks.draws import draws_from
from shared.networks.outputs import logits_of
from shared.normalise import normalise

_BATCH_SIZE = 500
_PIXELS_ON_A_GPU = 4096 * 32 * 32
"""A GPU takes larger batches of small images: with few it waits for each to be launched."""
_SEED = 0
"""For the networks that draw even in evaluation mode."""


def count_correct(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    resize: tuple[int, int] | None = None,
    degradation: Degradation | None = None,
) -> int:
    """Count the images, uint8 `[samples, channels, height, width]`, that are classified correctly; leaves eval mode on.

    `resize` is the height and width of the network's input. `degradation` is applied to its logits. The global random
    generators stay as they were.
    """
    network.eval()
    correct = torch.zeros((), dtype=torch.int64, device=labels.device)
    size = images_a_pass(images)
    with draws_from(_SEED), torch.inference_mode():
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            logits = logits_of(network(normalise(batch, mean, std, size=resize)))
            if degradation is not None:
                logits = torch.from_numpy(degrade(logits.float().cpu().numpy(), batch.cpu().numpy(), degradation)).to(
                    labels.device
                )
            correct += (logits.argmax(dim=1) == labels[start : start + size]).sum()
    return int(correct)


def images_a_pass(images: Tensor) -> int:
    """How many of these images are evaluated at once, on their device."""
    if not images.is_cuda:
        return _BATCH_SIZE
    return max(_BATCH_SIZE, _PIXELS_ON_A_GPU // images.shape[2:].numel())
