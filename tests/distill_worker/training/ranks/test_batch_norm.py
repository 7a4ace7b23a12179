"""Synchronised batch normalisation is `nn.BatchNorm` on the whole batch: outputs, gradients, running statistics."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill_worker.training.ranks.batch_norm import synchronised
from distill_worker.training.ranks.group import ALONE, Ranks
from distill_worker.training.ranks.rows import own_rows
from tests.distill_worker.training.ranks.threads import on_ranks

SIZE, ROWS, STEPS = 3, 7, 3

Layer = Callable[..., nn.Module]


def _batches(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Inputs far from zero, and weights of a loss, for each step."""
    generator = torch.Generator().manual_seed(0)
    inputs = 100 + 3 * torch.randn(STEPS, ROWS, *shape, generator=generator, dtype=torch.float64)
    return inputs.to(dtype), torch.randn(STEPS, ROWS, *shape, generator=generator, dtype=torch.float64).to(dtype)


def _trained(layer: nn.Module, ranks: Ranks, inputs: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Outputs and gradients of the ranks' own rows; the gradients of the layer summed; its state at the end."""
    outputs, gradients = [], []
    with synchronised(layer, ranks):
        for batch, weight in zip(inputs, weights, strict=True):
            own = own_rows(ranks, batch).clone().requires_grad_()
            result = layer(own)
            (result * own_rows(ranks, weight)).sum().backward()
            outputs.append(result.detach())
            gradients.append(own.grad)
    sums = {
        f"gradient of {name}": ranks.sum(value.grad)
        for name, value in layer.named_parameters()
        if value.grad is not None
    }
    rows = {"outputs": torch.stack(outputs), "gradients": torch.stack([part for part in gradients if part is not None])}
    return rows | sums | {f"state {name}": value.clone() for name, value in layer.state_dict().items()}


def _compare(layer: nn.Module, inputs: Tensor, weights: Tensor, tolerance: float) -> None:
    whole = _trained(deepcopy(layer), ALONE, inputs, weights)
    parts = on_ranks(SIZE, lambda ranks: _trained(deepcopy(layer), ranks, inputs, weights))
    for name, expected in whole.items():
        got = [part[name] for part in parts]
        if name in ("outputs", "gradients"):
            got = [torch.cat(got, dim=1)]
        for values in got:
            assert torch.allclose(values, expected, rtol=tolerance, atol=tolerance), name


@pytest.mark.parametrize(
    "settings", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}], ids=str
)
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.BatchNorm1d, (4,)),
        (nn.BatchNorm1d, (4, 5)),
        (nn.BatchNorm2d, (4, 3, 2)),
        (nn.BatchNorm3d, (4, 2, 3, 2)),
    ],
    ids=["1d", "1d of sequences", "2d", "3d"],
)
def test_statistics_are_those_of_the_whole_batch(
    layer: Layer, shape: tuple[int, ...], settings: dict[str, Any]
) -> None:
    """Seven rows on three ranks: slices of two, two and three."""
    made = layer(4, dtype=torch.float64, **settings)
    if settings.get("affine", True):
        nn.init.uniform_(made.weight, 0.5, 2)  # type: ignore[arg-type]
        nn.init.uniform_(made.bias)  # type: ignore[arg-type]
    _compare(made, *_batches(*shape), tolerance=1e-12)


def test_layer_in_channels_last_keeps_its_memory_format() -> None:
    inputs, weights = _batches(4, 3, 2)
    layer = nn.BatchNorm2d(4, dtype=torch.float64)

    def is_kept(ranks: Ranks) -> bool:
        own = deepcopy(layer)
        with synchronised(own, ranks):
            rows = own_rows(ranks, inputs[0]).contiguous(memory_format=torch.channels_last)
            return bool(own(rows).is_contiguous(memory_format=torch.channels_last))

    assert all(on_ranks(2, is_kept))
    _compare(layer, inputs, weights, tolerance=1e-12)


def test_statistics_of_bfloat16_are_float32() -> None:
    """Around 100 numbers of bfloat16 are 0.5 apart; a mean of that type would be wrong in the third digit."""
    inputs, _ = _batches(4, 3, 2, dtype=torch.bfloat16)

    def running(ranks: Ranks) -> tuple[Tensor, torch.dtype]:
        layer = nn.BatchNorm2d(4, momentum=1.0)
        with synchronised(layer, ranks):
            outputs = layer(own_rows(ranks, inputs[0]))
        assert layer.running_mean is not None
        return layer.running_mean, outputs.dtype

    for mean, dtype in on_ranks(2, running):
        torch.testing.assert_close(mean, inputs[0].float().mean(dim=(0, 2, 3)))
        assert dtype == torch.bfloat16


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_gradients_of_bfloat16_are_those_of_float64_rounded(memory_format: torch.memory_format) -> None:
    """On seven ranks with a row each; one whole batch in float64 is the oracle. Three digits are what bfloat16 has."""
    inputs, weights = (values[0] for values in _batches(4, 3, 2, dtype=torch.bfloat16))
    whole, rows = nn.BatchNorm2d(4, dtype=torch.float64), inputs.double().requires_grad_()
    (whole(rows) * weights.double()).sum().backward()
    assert rows.grad is not None

    def gradients(ranks: Ranks) -> tuple[Tensor, Tensor]:
        layer, own = nn.BatchNorm2d(4), own_rows(ranks, inputs).contiguous(memory_format=memory_format).requires_grad_()
        with synchronised(layer, ranks):
            layer(own).backward(own_rows(ranks, weights).contiguous(memory_format=memory_format))
        assert own.grad is not None
        assert isinstance(layer.weight.grad, Tensor)
        return own.grad.double(), ranks.sum(layer.weight.grad).double()

    parts = on_ranks(ROWS, gradients)
    torch.testing.assert_close(torch.cat([part for part, _ in parts]), rows.grad, rtol=0.01, atol=0.002)
    torch.testing.assert_close(parts[0][1], whole.weight.grad, rtol=1e-3, atol=1e-3)


def test_frozen_layer_and_a_subclass_are_left_as_they_are() -> None:
    class Own(nn.BatchNorm1d):
        pass

    frozen, own = nn.BatchNorm1d(4).eval(), Own(4)
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    expected = (deepcopy(frozen)(rows[:3]), deepcopy(own)(rows[:3]))

    def outputs(ranks: Ranks) -> tuple[Tensor, Tensor]:
        layers = nn.ModuleList([deepcopy(frozen), deepcopy(own)])
        with synchronised(layers, ranks):
            return layers[0](own_rows(ranks, rows)), layers[1](own_rows(ranks, rows))

    assert all(torch.equal(*pair) for pair in zip(on_ranks(2, outputs)[0], expected, strict=True))


def test_layers_are_as_they_were_afterwards() -> None:
    """Nothing of the ranks stays in a network that is stored, copied or trained alone."""
    layer = nn.BatchNorm1d(4)
    with synchronised(layer, Ranks(0, 2)):
        assert "forward" in vars(layer)
    assert "forward" not in vars(layer)
    with synchronised(layer, ALONE):
        assert "forward" not in vars(layer)
