"""Each file that cannot be served as it is gets the command that helps."""

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from teacher_service.cli.command import app
from teacher_service.models.file_kind import FileKind
from teacher_service.models.packing.advice import SUFFIXES, pack_command, without_card

_CAN_BE_PACKED = (FileKind.TENSORS, FileKind.CHECKPOINT, FileKind.TORCHSCRIPT, FileKind.EXPORTED, FileKind.ONNX)


@pytest.mark.parametrize("kind", FileKind)
def test_every_kind_has_advice(kind: FileKind) -> None:
    message = str(without_card(Path("my file.bin"), kind))
    assert kind.value in message
    assert ("teacher-service pack" in message) == (kind in (*_CAN_BE_PACKED, FileKind.WEIGHTS))


@pytest.mark.parametrize("kind", _CAN_BE_PACKED)
def test_command_is_one_that_the_program_takes(kind: FileKind) -> None:
    """Up to the names of network and classes, which the person puts in."""
    program, *arguments = shlex.split(pack_command(Path("my file.bin"), kind))
    assert program == "teacher-service"
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 2
    assert "class_names: expected a file with one name a line" in ended.stderr
    assert arguments[-1] == f"my file.teacher{SUFFIXES.get(kind, '.safetensors')}"
