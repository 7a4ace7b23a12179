"""How decoding shows what it does, which may take minutes: the command line says where, other callers see nothing."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple


@contextmanager
def _no_bar(_title: str, _total: int) -> Iterator[Callable[[int], None]]:
    yield lambda _done: None


class Display(NamedTuple):
    """Where notes and progress go."""

    say: Callable[[str], None] = lambda _line: None
    """Shows a line."""
    bar: Callable[[str, int], AbstractContextManager[Callable[[int], None]]] = _no_bar
    """From a title and a total, a context with a function that takes the count done."""


DISPLAY: Final[ContextVar[Display]] = ContextVar("DISPLAY", default=Display())  # noqa: B039 - it cannot be changed
