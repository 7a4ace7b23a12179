"""The formats that a finished student is exported to. Each one holds the card, under the name `tuition`."""

import io
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import torch
from safetensors.torch import load

from distill_worker.training.finished.onnx_format import OnnxFormat
from distill_worker.training.finished.student import FinishedStudent
from distill_worker.training.finished.tracing import Run, traced
from shared.networks.outputs import logits_of
from shared.weights import CARD, network_of


class Format(Protocol):
    """A kind of file."""

    name: str
    """On the command line."""
    suffix: str
    """Of its files' names."""
    description: str
    """With its article, for a sentence."""

    def check_possible(self) -> None:
        """Check that the packages that the format needs are installed. Raises `ConfigError`."""

    def content(self, student: FinishedStudent) -> bytes:
        """The file. Raises what the network or the exporter raises."""

    def opened(self, content: bytes, student: FinishedStudent) -> Run:
        """The file as its users open it, on the CPU; `student` gives what the format leaves out."""


class SafetensorsFormat:
    """The format `safetensors`: the weights file itself, which holds no computation."""

    name = "safetensors"
    suffix = ".safetensors"
    description = "a weights file (safetensors)"

    def check_possible(self) -> None:
        """Nothing is needed."""

    def content(self, student: FinishedStudent) -> bytes:
        """The bytes of the weights file, so that its fingerprint stays."""
        return student.weights.read_bytes()

    def opened(self, content: bytes, student: FinishedStudent) -> Run:
        """The network that the card names, with the tensors of the file."""
        network = network_of(student.card, load(content), student.card.network)
        return lambda inputs: logits_of(network(inputs)).float()


class TorchExportFormat:
    """The format `torch-export`: the graph, for PyTorch without Tuition and without the network's own code."""

    name = "torch-export"
    suffix = ".pt2"
    description = "a program of torch.export"

    def check_possible(self) -> None:
        """Nothing is needed."""

    def content(self, student: FinishedStudent) -> bytes:
        """The file. Raises what `torch.export` raises."""
        file = io.BytesIO()
        torch.export.save(traced(student), file, extra_files={CARD: student.card.model_dump_json()})
        return file.getvalue()

    def opened(self, content: bytes, student: FinishedStudent) -> Run:  # noqa: ARG002 - the file holds its network
        """The program."""
        return torch.export.load(io.BytesIO(content)).module()


_ALL: Final[Sequence[Format]] = (SafetensorsFormat(), OnnxFormat(), TorchExportFormat())
FORMATS: Final[Mapping[str, Format]] = {one.name: one for one in _ALL}
