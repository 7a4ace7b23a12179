"""Batch normalisation by the statistics of the whole batch, of which each rank has its rows.

Torch's own SyncBatchNorm needs GPUs. This one works with any backend, on any device, and gives what `nn.BatchNorm1d`,
`2d` or `3d` gives on the whole batch, gradients and running statistics included. Statistics are float32 at least.

Subclasses of these layers, and other layers that use statistics of a batch, are left as they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm

from distill_worker.training.ranks.group import Ranks

_LAYERS: Final = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@contextmanager
def synchronised(network: nn.Module, ranks: Ranks) -> Iterator[None]:
    """Let the network's layers of batch normalisation use the whole batch while they are in training mode."""
    layers = [module for module in network.modules() if type(module) in _LAYERS] if ranks.size > 1 else []
    for layer in layers:
        layer.forward = partial(_forward, layer, ranks)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _forward(layer: Any, ranks: Ranks, inputs: Tensor) -> Tensor:
    if not layer.training:
        evaluated: Tensor = type(layer).forward(layer, inputs)
        return evaluated
    layer._check_input_dim(inputs)
    outputs, mean, variance, count = _Normalised.apply(inputs, layer.weight, layer.bias, layer.eps, ranks)
    if layer.track_running_stats:
        with torch.no_grad():
            _update(layer, mean, variance * count / (count - 1))
    whole: Tensor = outputs
    return whole


def _update(layer: Any, mean: Tensor, variance: Tensor) -> None:
    layer.num_batches_tracked.add_(1)
    for running, new in ((layer.running_mean, mean), (layer.running_var, variance)):
        share = layer.momentum if layer.momentum is not None else 1 / layer.num_batches_tracked.to(running.dtype)
        running.lerp_(new.to(running.dtype), share)


class _Normalised(torch.autograd.Function):
    """The normalised rows, and mean, variance and count `[channels]`, `[channels]`, `[]` of the whole batch."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, ranks: Ranks
    ) -> tuple[Tensor, ...]:
        mean, variance, count = _statistics(inputs, ranks)
        ctx.ranks = ranks
        ctx.save_for_backward(inputs, weight, mean, (variance + eps).rsqrt(), count)
        ctx.mark_non_differentiable(mean, variance, count)
        return batch_norm(inputs, mean, variance, weight, bias, training=False, eps=eps), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        """By the formula g w / s (g - mean(g) - x^ mean(g x^)), whose means are over the whole batch."""
        inputs, weight, mean, inverse, count = ctx.saved_tensors
        _, dot, total = torch.ops.aten.native_batch_norm_backward(
            gradient, inputs, torch.ones_like(mean), None, None, mean, inverse, True, 0.0, [False, True, True]
        )
        mean_total, mean_dot = (ctx.ranks.sum(torch.stack([total, dot])) / count).unbind()
        scale = inverse if weight is None else inverse * weight
        shape = [1, -1, *[1] * (inputs.ndim - 2)]
        whole = (inputs - mean.view(shape)).mul_((-scale * inverse * mean_dot).view(shape))
        whole.addcmul_(gradient, scale.view(shape)).sub_((scale * mean_total).view(shape))
        if weight is None:
            return whole.to(inputs.dtype), None, None, None, None
        return whole.to(inputs.dtype), dot.to(weight.dtype), total.to(weight.dtype), None, None


def _statistics(inputs: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and count of the whole batch, from those of each rank's rows."""
    channels = inputs.shape[1]
    dtype = torch.promote_types(inputs.dtype, torch.float32)
    scratch = inputs.new_zeros((2, channels), dtype=dtype)  # without them, statistics have the type of the inputs
    mean, variance = torch.batch_norm_update_stats(inputs, scratch[0], scratch[1], 1.0)
    table = mean.new_zeros((ranks.size, 2 * channels + 1))
    table[ranks.rank] = torch.cat([mean, variance, mean.new_full((1,), inputs.numel() // channels)])
    means, variances, counts = torch.split(ranks.sum(table), [channels, channels, 1], dim=1)
    count = counts.sum()
    shares = counts / count
    mean = (shares * means).sum(dim=0)
    return mean, (shares * (variances + (means - mean).square())).sum(dim=0), count
