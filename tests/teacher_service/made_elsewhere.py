"""A small network that another program trained, and the kinds of files that such a program saves."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor, nn

from shared.normalise import normalise
from shared.weights import WeightsCard

CLASSES: Final = 3
SIZE: Final = (12, 16)
"""Height and width, which differ so that a mix-up is seen."""
NAMES: Final = ("cat", "dog", "ship")
MEAN: Final = (0.5, 0.4, 0.3)
STD: Final = (0.25, 0.2, 0.3)

FACTORY: Final = """
from tests.teacher_service.made_elsewhere import Small

def make(num_classes, in_channels):
    return Small(num_classes, in_channels)
"""


class Small(nn.Module):
    """A convolution, a batch normalisation that has seen images, and a classifier."""

    def __init__(self, num_classes: int = CLASSES, in_channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(in_channels, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(6, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.classifier(self.dropout(self.features(images).mean((2, 3))))
        return logits


def small(num_classes: int = CLASSES, in_channels: int = 3) -> Small:
    """The network with weights of its own, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        network = Small(num_classes, in_channels)
        with torch.no_grad():
            network(torch.randn(8, in_channels, *SIZE) * 3 + 1)
            network.classifier.weight.mul_(5)
    return network.eval()


def card(**changes: object) -> WeightsCard:
    """The description of the network."""
    facts: dict[str, object] = {
        "network": "small",
        "num_classes": CLASSES,
        "in_channels": 3,
        "image_size": SIZE,
        "mean": MEAN,
        "std": STD,
        "class_names": NAMES,
    }
    return WeightsCard.model_validate(facts | changes)


def pixels(samples: int) -> NDArray[np.uint8]:
    """Drawn images."""
    return np.random.default_rng(5).integers(0, 256, (samples, 3, *SIZE), dtype=np.uint8)


def expected(network: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The logits of a network for raw images, by the arithmetic of its training."""
    with torch.no_grad():
        logits: NDArray[np.float32] = network(normalise(torch.from_numpy(images), MEAN, STD)).numpy()
    return logits


def save_torchscript(network: nn.Module, path: Path, *, traced_with: int | None = None) -> Path:
    """An archive of the network's code, or of what it did for a batch of that size."""
    with _quiet():
        if traced_with is None:
            torch.jit.script(network).save(str(path))  # type: ignore[no-untyped-call]
        else:
            torch.jit.trace(network, torch.zeros(traced_with, 3, *SIZE)).save(str(path))  # type: ignore[no-untyped-call]
    return path


def save_exported(network: nn.Module, path: Path, batch: int | tuple[int, int] | None = None) -> Path:
    """A program for batches of any size, of one size, or of sizes from least to most."""
    with _quiet():
        free = {"min": batch[0], "max": batch[1]} if isinstance(batch, tuple) else {}
        shapes = None if isinstance(batch, int) else ({0: torch.export.Dim("batch", **free)},)
        images = torch.zeros(batch if isinstance(batch, int) else 3, 3, *SIZE)
        torch.export.save(torch.export.export(network, (images,), dynamic_shapes=shapes), path)
    return path


def onnx_model(batch: int | str = "batch", classes: int = CLASSES) -> bytes:
    """An ONNX model whose logits are weighted means of the channels."""
    weight = np.random.default_rng(1).normal(size=(3, classes)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images"], ["means"], axes=[2, 3], keepdims=0),
            helper.make_node("MatMul", ["means", "weight"], ["logits"]),
        ],
        "means",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, *SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, classes])],
        [helper.make_tensor("weight", TensorProto.FLOAT, [3, classes], weight.tobytes(), raw=True)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = made.SerializeToString()
    return content


def onnx_properties(content: bytes) -> dict[str, str]:
    """The metadata properties of an ONNX model, as the package onnx reads them."""
    return {entry.key: entry.value for entry in onnx.load_model(io.BytesIO(content)).metadata_props}


@contextmanager
def _quiet() -> Iterator[None]:
    """PyTorch advises against TorchScript, which is what its users have all the same."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
