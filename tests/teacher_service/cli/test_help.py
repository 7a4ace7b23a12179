"""Each `--help` of `teacher-service` ends with an example that the program takes."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from teacher_service.cli.command import app


def _commands(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, *path, name)


_COMMANDS = dict(_commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", _COMMANDS, ids=" ".join)
def test_help_has_an_example(path: tuple[str, ...]) -> None:
    printed = CliRunner().invoke(app, [*path, "--help"])
    assert printed.exit_code == 0
    assert f"Example: teacher-service {' '.join(path)}".rstrip() in re.sub(r"\s+", " ", printed.stdout)


@pytest.mark.parametrize("path", _COMMANDS, ids=" ".join)
def test_example_is_a_line_that_the_program_takes(path: tuple[str, ...]) -> None:
    """Its command exists, and its options and arguments are those of the command."""
    epilog = _COMMANDS[path].epilog or ""
    line = epilog.partition("Example: ")[2].partition("\n\n")[0]
    program, *arguments = shlex.split(line)
    assert program == "teacher-service"
    inner = max((one for one in _COMMANDS if tuple(arguments[: len(one)]) == one), key=len)
    assert not getattr(_COMMANDS[inner], "commands", {})
    assert inner[: len(path)] == path
    _COMMANDS[inner].make_context(line, arguments[len(inner) :])
