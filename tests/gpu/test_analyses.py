"""Analyses on the device of a run."""

import pytest
import torch
from torch import nn

from distill_worker.experiments.analyses.sharpness import sharpness


def test_directions_of_the_sharpness_are_the_same_on_every_device(device: torch.device) -> None:
    """They are drawn on the CPU."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    inputs, labels = torch.randn(6, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    expected = sharpness(network, inputs, labels)
    facts = sharpness(network.to(device), inputs.to(device), labels.to(device))
    assert facts["losses"] == pytest.approx(expected["losses"], rel=1e-3)
