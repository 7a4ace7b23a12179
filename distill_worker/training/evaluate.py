"""A network on held-out images: its outputs, its top-1 accuracy, and its divergence from a teacher."""

from collections.abc import Callable, Sequence

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

    def correct(logits: Tensor, rows: slice) -> Tensor:
        if degradation is not None:
            pixels = images[rows].cpu().numpy()
            logits = torch.from_numpy(degrade(logits.float().cpu().numpy(), pixels, degradation)).to(labels.device)
        return (logits.argmax(dim=1) == labels[rows]).sum()

    return int(_sum(network, images, correct, mean=mean, std=std, resize=resize))


def mean_divergence(
    network: nn.Module,
    images: Tensor,
    teacher_logits: Tensor,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    resize: tuple[int, int] | None = None,
) -> float:
    """The mean of KL(teacher || student) over images, in nats, without labels; leaves eval mode on.

    Args:
        network: the student.
        images: uint8 `[samples, channels, height, width]`, at least one.
        teacher_logits: finite, float `[samples, classes]`: logits, or log-probabilities.
        mean: of each channel, as in `normalise`.
        std: likewise.
        resize: the height and width of the network's input.

    Returns:
        The mean; not finite for a network whose logits are not.
    """

    def divergence(logits: Tensor, rows: slice) -> Tensor:
        teacher = teacher_logits[rows].double().log_softmax(dim=1)
        student = logits.double().log_softmax(dim=1)
        return (teacher.exp() * (teacher - student)).sum()

    return float(_sum(network, images, divergence, mean=mean, std=std, resize=resize)) / len(images)


def log_probabilities_of(
    network: nn.Module,
    images: Tensor,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    resize: tuple[int, int] | None = None,
) -> Tensor:
    """The outputs of a network, float64 `[images, classes]`, on the CPU; leaves eval mode on. Arguments as above."""
    network.eval()
    with draws_from(_SEED), torch.inference_mode():
        outputs = [
            logits_of(network(normalise(part, mean, std, size=resize))).double().log_softmax(dim=1).cpu()
            for part in torch.split(images, images_a_pass(images))
        ]
    return torch.cat(outputs)


def _sum(
    network: nn.Module,
    images: Tensor,
    value: Callable[[Tensor, slice], Tensor],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    resize: tuple[int, int] | None = None,
) -> Tensor:
    """The sum over batches of a value of the logits of these rows."""
    network.eval()
    size = images_a_pass(images)
    with draws_from(_SEED), torch.inference_mode():
        batches = [slice(start, start + size) for start in range(0, len(images), size)]
        values = [value(logits_of(network(normalise(images[rows], mean, std, size=resize))), rows) for rows in batches]
        return torch.stack(values).sum()


def images_a_pass(images: Tensor) -> int:
    """How many of these images are evaluated at once, on their device."""
    if not images.is_cuda:
        return _BATCH_SIZE
    return max(_BATCH_SIZE, _PIXELS_ON_A_GPU // images.shape[2:].numel())
