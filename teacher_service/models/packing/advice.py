"""What to do with a file that `serve` cannot take as it is: usually a `pack` command."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from shared.weights import WeightsError
from teacher_service.models.file_kind import ARCHIVES, FileKind

SUFFIXES: Final[Mapping[FileKind, str]] = {
    FileKind.WEIGHTS: ".safetensors",
    FileKind.TORCHSCRIPT: ".pt",
    FileKind.EXPORTED: ".pt2",
    FileKind.ONNX: ".onnx",
}
"""How the name of a packed file ends, by what it holds."""
SOURCES: Final = (
    "a state dict (torch.save or safetensors), a TorchScript archive, a program of torch.export or an ONNX model"
)
_INSTEAD: Final[Mapping[FileKind, str]] = {
    FileKind.KERAS: "export the network to ONNX (for Keras and TensorFlow: the package tf2onnx), and pack that file",
    FileKind.POINTER: "download the file itself, with `git lfs pull`",
    FileKind.WEB_PAGE: "download the file itself; the server sent a page in its place, perhaps an error or a login",
    FileKind.UNKNOWN: f"name another file: {SOURCES}",
}


def packed_path(source: Path, packed: FileKind) -> Path:
    """The default path of the packed file, beside its source."""
    return source.with_name(f"{source.stem}.teacher{SUFFIXES[packed]}")


def pack_command(source: Path, kind: FileKind) -> str:
    """The command that packs a file of this kind; its names of network and classes are examples."""
    network = () if kind in (*ARCHIVES, FileKind.ONNX) else ("--network", "torchvision:resnet50")
    option = "--model" if kind in (*ARCHIVES, FileKind.ONNX) else "--state-dict"
    packed = kind if kind in SUFFIXES else FileKind.WEIGHTS
    trust = ("--trust-code",) if kind in ARCHIVES else ()
    return shlex.join(
        [
            "teacher-service",
            "pack",
            *network,
            option,
            str(source),
            "--class-names",
            "names.txt",
            "--preprocessing",
            "imagenet",
            *trust,
            "-o",
            str(packed_path(source, packed)),
        ]
    )


def without_card(path: Path, kind: FileKind) -> WeightsError:
    """The error for a file that does not describe itself; it names the kind of the file and what to do."""
    if kind in _INSTEAD:
        return WeightsError(f"{path}: expected the file of a model, got {kind.value}; {_INSTEAD[kind]}")
    card = " without a card" if kind in (*ARCHIVES, FileKind.ONNX) else ""
    names = "classes and preprocessing" if kind in (*ARCHIVES, FileKind.ONNX) else "network, classes and preprocessing"
    return WeightsError(
        f"{path}: expected a file that describes itself, got {kind.value}{card}. Make one that does, with your own "
        f"{names}:\n  {pack_command(path, kind)}"
    )
