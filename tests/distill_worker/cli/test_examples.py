"""The help of every command ends with examples, and each of them can be typed."""

import shlex
from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from distill_worker.cli.command import app

PROGRAM = "distill-worker"


def _commands(group: typer.Typer, *before: str) -> Iterator[tuple[str, ...]]:
    """The program, its groups, and their commands, by what is typed."""
    yield before
    for command in group.registered_commands:
        yield (*before, str(command.name or getattr(command.callback, "__name__", "")))
    for one in group.registered_groups:
        assert one.typer_instance is not None
        yield from _commands(one.typer_instance, *before, str(one.name))


COMMANDS = list(_commands(app))


def _help(arguments: tuple[str, ...]) -> str:
    result = CliRunner().invoke(app, [*arguments, "--help"], terminal_width=500)
    assert result.exit_code == 0
    return result.stdout


def _examples(text: str) -> list[str]:
    return [line for line in map(str.strip, text.splitlines()) if line.startswith(f"{PROGRAM} ")]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_help_has_examples_that_can_be_parsed(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each example of a command is one of that command; each of a group is one of a command in it."""
    monkeypatch.setenv("COLUMNS", "300")
    examples = _examples(_help(arguments))
    assert examples
    for line in examples:
        words = shlex.split(line)[1:]
        assert tuple(words[: len(arguments)]) == arguments
        _parse(words)


def _parse(words: list[str]) -> None:
    """Parse a line as the program does, and run nothing. Raises a usage error for what is wrong."""
    command = typer.main.get_command(app)
    context = command.make_context(PROGRAM, words)
    while hasattr(command, "resolve_command"):
        _, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        context = command.make_context(command.name, words, parent=context)


@pytest.mark.parametrize("line", ["plan --jsn", "plan run.toml --n many", "rnu", "cache sats", "export runs/x"])
def test_wrong_line_is_not_parsed(line: str) -> None:
    """So that the test above can fail."""
    with pytest.raises(Exception, match=r".") as error:
        _parse(shlex.split(line))
    assert "Usage" in type(error.value).__name__ or hasattr(error.value, "exit_code")


def test_paragraphs_are_wrapped_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where the source code breaks its lines."""
    monkeypatch.setenv("COLUMNS", "300")
    line = (
        "If budget.n is not set, it needs --max-calls or --all. On a terminal, it shows the price and waits for a yes."
    )
    assert line in _help(("fetch",))
