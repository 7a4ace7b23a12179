"""The kind of a file is seen in its content, whatever its name, and nothing in it is run."""

import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from shared.weights import WeightsError, weights_bytes
from teacher_service.models.file_kind import FileKind, kind_of
from tests.teacher_service.made_elsewhere import card, onnx_model, small


class _Bomb:
    """An object whose unpickling fails the test."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return pytest.fail, ("the file was unpickled",)


def _zip(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")


_MADE: Mapping[str, tuple[FileKind, Callable[[Path], object]]] = {
    "weights": (FileKind.WEIGHTS, lambda path: path.write_bytes(weights_bytes(small(), card()))),
    "tensors": (FileKind.TENSORS, lambda path: save_file(small().state_dict(), path)),
    "state dict": (FileKind.CHECKPOINT, lambda path: torch.save(small().state_dict(), path)),
    "state dict of an old version": (
        FileKind.CHECKPOINT,
        lambda path: torch.save(small().state_dict(), path, _use_new_zipfile_serialization=False),
    ),
    "pickled network": (FileKind.CHECKPOINT, lambda path: torch.save(small(), path)),
    "other pickle": (FileKind.CHECKPOINT, lambda path: path.write_bytes(pickle.dumps(_Bomb()))),
    "pickle in a zip": (FileKind.CHECKPOINT, lambda path: torch.save({"bomb": _Bomb()}, path)),
    "onnx": (FileKind.ONNX, lambda path: path.write_bytes(onnx_model())),
    "keras": (FileKind.KERAS, lambda path: _zip(path, "config.json", "model.weights.h5")),
    "hdf5": (FileKind.KERAS, lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))),
    "git lfs": (FileKind.POINTER, lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid")),
    "page": (FileKind.WEB_PAGE, lambda path: path.write_text("\n<!DOCTYPE html><html>Sign in</html>")),
    "text": (FileKind.UNKNOWN, lambda path: path.write_text("not safetensors")),
    "zip": (FileKind.UNKNOWN, lambda path: _zip(path, "a/b", "c")),
    "half a zip": (FileKind.UNKNOWN, lambda path: path.write_bytes(b"PK\x03\x04" + bytes(40))),
    "nothing": (FileKind.UNKNOWN, lambda path: path.write_bytes(b"")),
    "zeros": (FileKind.UNKNOWN, lambda path: path.write_bytes(bytes(64))),
    "cut safetensors": (FileKind.UNKNOWN, lambda path: path.write_bytes(weights_bytes(small(), card())[:60])),
}


@pytest.mark.parametrize("name", _MADE)
def test_kind_follows_from_the_content(name: str, tmp_path: Path) -> None:
    kind, write = _MADE[name]
    for file in (tmp_path / "model.safetensors", tmp_path / "model.pt"):
        write(file)
        assert kind_of(file) is kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("torchscript", FileKind.TORCHSCRIPT),
        ("traced", FileKind.TORCHSCRIPT),
        ("exported", FileKind.EXPORTED),
        ("fixed", FileKind.EXPORTED),
    ],
)
def test_archives_of_pytorch_are_told_apart(name: str, kind: FileKind, archives: Mapping[str, Path]) -> None:
    assert kind_of(archives[name]) is kind


def test_missing_file_and_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.pt: no such weights file"):
        kind_of(tmp_path / "none.pt")
    with pytest.raises(WeightsError, match="expected the file of a model, got a folder"):
        kind_of(tmp_path)
