"""What kind of model a file holds, by its content: nothing in the file is run or unpickled."""

import struct
import zipfile
from enum import Enum
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open

from shared.weights import CARD, WeightsError
from teacher_service.models.onnx_message import is_onnx

_LEGACY: Final = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The beginning of what `torch.save` wrote before version 1.6."""
_PICKLE: Final = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_LARGEST_HEADER: Final = 100 * 2**20
"""Of a safetensors file, in bytes: its format's own limit."""


class FileKind(Enum):
    """A kind of file; its value names it in messages, with its article."""

    WEIGHTS = "a safetensors file with a card"
    TENSORS = "a safetensors file without a card"
    CHECKPOINT = "a pickled file of PyTorch (torch.save)"
    TORCHSCRIPT = "a TorchScript archive"
    EXPORTED = "a program of torch.export"
    ONNX = "an ONNX model"
    KERAS = "a Keras or HDF5 file"
    POINTER = "a pointer of Git LFS, which stands for a file that was not downloaded"
    WEB_PAGE = "a web page"
    UNKNOWN = "a file of another kind"


ARCHIVES: Final = (FileKind.TORCHSCRIPT, FileKind.EXPORTED)
"""Files that hold a program of PyTorch: to load one is to run code."""


def kind_of(path: Path) -> FileKind:
    """The kind of a file.

    Raises:
        WeightsError: there is no such file, or it cannot be read.
    """
    if path.is_dir():
        raise WeightsError(f"{path}: expected the file of a model, got a folder; name the file in it")
    try:
        with path.open("rb") as file:
            head = file.read(4096)
        size = path.stat().st_size
        if head.startswith(b"PK\x03\x04"):
            return _kind_of_zip(path)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such weights file") from error
    except OSError as error:
        raise WeightsError(f"{path}: the file cannot be read ({error.strerror or error})") from error
    if _is_safetensors(head, size):
        return FileKind.WEIGHTS if _has_card(path) else FileKind.TENSORS
    if head.startswith((_LEGACY, *_PICKLE)):
        return FileKind.CHECKPOINT
    if head.startswith(_HDF5):
        return FileKind.KERAS
    if head.startswith(b"version https://git-lfs"):
        return FileKind.POINTER
    if head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return FileKind.WEB_PAGE
    return FileKind.ONNX if _is_onnx(path, size) else FileKind.UNKNOWN


def _kind_of_zip(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
            whole = set(archive.namelist())
    except zipfile.BadZipFile:
        return FileKind.UNKNOWN
    if "archive_format" in names or any(name.startswith("models/") for name in names):
        return FileKind.EXPORTED
    if "serialized_exported_program.json" in whole | names:  # of torch 2.6 and before
        return FileKind.EXPORTED
    if "constants.pkl" in names:
        return FileKind.TORCHSCRIPT
    if "data.pkl" in names:
        return FileKind.CHECKPOINT
    return FileKind.KERAS if "model.weights.h5" in whole else FileKind.UNKNOWN


def _is_safetensors(head: bytes, size: int) -> bool:
    if len(head) < 10 or head[8:9] != b"{":
        return False
    length: int = struct.unpack("<Q", head[:8])[0]
    return 2 <= length <= min(_LARGEST_HEADER, size - 8)


def _has_card(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return CARD in (file.metadata() or {})
    except (SafetensorError, OSError):  # a damaged file: who loads it says how
        return True


def _is_onnx(path: Path, size: int) -> bool:
    if not size:
        return False
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content, memoryview(content) as view:
        return is_onnx(view)
