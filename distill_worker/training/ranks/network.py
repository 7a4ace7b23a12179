"""What keeps the network and the objective the same on every rank: summed gradients, and the buffers of rank 0."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from distill_worker.training.ranks.group import Ranks

Kind = TypeVar("Kind", bound=Tensor)


def sum_gradients(ranks: Ranks, network: nn.Module, objective: nn.Module) -> None:
    """Make every gradient that of the whole batch. Raises `RankLost`.

    Those of the network are the sums of what the ranks' rows give. Each rank computes the objective whole, so that of
    its own parameters has no parts; rank 0's is taken, because the last bits of another GPU's may differ.
    """
    if ranks.size == 1:
        return
    parameters = [parameter for module in (network, objective) for parameter in module.parameters()]
    if not ranks.is_first:
        for parameter in objective.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()
    for alike in _by_type(parameter for parameter in parameters if parameter.requires_grad):
        _sum_gradients(ranks, alike)


def follow_first(ranks: Ranks, network: nn.Module) -> None:
    """Give the network's buffers the values of rank 0, whose network is evaluated and stored. Raises `RankLost`."""
    if ranks.size == 1:
        return
    for alike in _by_type(network.buffers()):
        flat = ranks.copy_first(torch.cat([buffer.flatten() for buffer in alike]))
        for buffer, values in zip(alike, _split(flat, alike), strict=True):
            buffer.copy_(values)


def _sum_gradients(ranks: Ranks, parameters: Sequence[nn.Parameter]) -> None:
    """Sum the gradients, of one type, in one exchange. A parameter that no rank uses keeps none, as in one process."""
    uses = parameters[0].new_ones(len(parameters))
    unused = [place for place, parameter in enumerate(parameters) if parameter.grad is None]
    for place in unused:
        uses[place].zero_()
        parameters[place].grad = torch.zeros_like(parameters[place])
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = ranks.sum(torch.cat([*(gradient.flatten() for gradient in gradients), uses]))
    *sums, uses = _split(flat, [*gradients, uses])
    for gradient, total in zip(gradients, sums, strict=True):
        gradient.copy_(total)
    for place in unused:
        if not uses[place]:
            parameters[place].grad = None


def _by_type(tensors: Iterable[Kind]) -> Iterable[list[Kind]]:
    groups: dict[torch.dtype, list[Kind]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    return groups.values()


def _split(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    parts = torch.split(flat, [tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]
