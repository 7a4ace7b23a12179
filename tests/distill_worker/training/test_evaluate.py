"""Counting right answers, and measuring divergence, batch by batch."""

import math

import pytest
import torch
from torch import nn

from distill_worker.training.evaluate import count_correct, mean_divergence


def test_count_equals_one_by_one_over_several_batches() -> None:
    """1,203 images: two full batches and a rest; the oracle normalises and asks one image at a time."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(0.9), nn.Linear(2 * 3 * 3, 4))
    images = torch.randint(0, 256, (1203, 2, 3, 3), dtype=torch.uint8)
    labels = torch.randint(0, 4, (1203,))
    mean, std = (0.25, 0.5), (0.5, 0.125)
    network.train()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    counted = count_correct(network, images, labels, mean=mean, std=std)

    assert not network.training
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in state.items())
    expected = 0
    with torch.no_grad():
        for image, label in zip(images, labels, strict=True):
            seen = torch.stack([(image[c] / 255 - mean[c]) / std[c] for c in range(2)])
            expected += int(network(seen[None]).argmax() == label)
    assert counted == expected
    assert 0 < counted < 1203


def test_divergence_equals_a_loop_in_float64_over_several_batches() -> None:
    """The oracle sums p (log p - log q) image by image; log-probabilities serve as well as logits."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(2 * 3 * 3, 4))
    images = torch.randint(0, 256, (703, 2, 3, 3), dtype=torch.uint8)
    logits = 3 * torch.randn(703, 4)
    mean, std = (0.25, 0.5), (0.5, 0.125)

    divergence = mean_divergence(network, images, logits, mean=mean, std=std)

    assert not network.training
    total = 0.0
    with torch.no_grad():
        for image, row in zip(images, logits, strict=True):
            seen = torch.stack([(image[c] / 255 - mean[c]) / std[c] for c in range(2)])
            student = network(seen[None])[0].double().softmax(dim=0)
            total += sum(float(p * (p / q).log()) for p, q in zip(row.double().softmax(dim=0), student, strict=True))
    assert divergence == pytest.approx(total / 703, rel=1e-6)
    assert mean_divergence(network, images, logits.log_softmax(dim=1), mean=mean, std=std) == pytest.approx(divergence)


def test_divergence_from_oneself_is_zero() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    images = torch.randint(0, 256, (5, 1, 2, 2), dtype=torch.uint8)
    with torch.no_grad():
        own = network(images / 255)
    assert mean_divergence(network, images, own, mean=(0.0,), std=(1.0,)) == pytest.approx(0, abs=1e-6)


def test_divergence_of_a_network_without_finite_logits_is_not_finite() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    nn.init.constant_(network[1].bias, math.nan)  # type: ignore[arg-type]
    images = torch.randint(0, 256, (5, 1, 2, 2), dtype=torch.uint8)
    assert not math.isfinite(mean_divergence(network, images, torch.zeros(5, 3), mean=(0.0,), std=(1.0,)))
