"""A student as a graph: what the formats that hold its computation have in common."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from distill_worker.training.finished.student import FinishedStudent
from shared.networks.tracing import TRACED, traced_network

INPUT: Final = "images"
"""The name of the input of an exported graph: float32 `[batch, channels, height, width]`, normalised."""
OUTPUT: Final = "logits"
"""The name of its output: float32 `[batch, classes]`."""

Run = Callable[[Tensor], Tensor]
"""An opened file: from the network's input to its logits."""


def traced(student: FinishedStudent) -> torch.export.ExportedProgram:
    """The graph from the network's input to its logits: see `traced_network`."""
    black = torch.zeros(TRACED, *student.image_shape, dtype=torch.uint8)
    return traced_network(student.network, student.inputs(black))
