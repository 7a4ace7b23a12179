"""The end of a command's help: lines that can be typed."""

import inspect
from collections.abc import Callable
from typing import Any, Final, TypeVar

Command = TypeVar("Command", bound=Callable[..., Any])

_KEEP_LINES: Final = "\b"
"""The mark of a paragraph whose lines are not joined."""


def examples(*lines: str) -> Callable[[Command], Command]:
    """End the help of a command with these lines. Its other paragraphs are wrapped to the width of the terminal."""

    def with_examples(command: Command) -> Command:
        command.__doc__ = f"{_unwrapped(command.__doc__ or '')}\n\n{ending(*lines)}"
        return command

    return with_examples


def ending(*lines: str) -> str:
    """The paragraph of these lines."""
    return "\n".join([_KEEP_LINES, "Examples:", *(f"  {line}" for line in lines)])


def _unwrapped(text: str) -> str:
    """A docstring whose paragraphs are one line each."""
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in inspect.cleandoc(text).split("\n\n"))
