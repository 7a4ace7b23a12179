"""Where an experiment shows its progress. An experiment that gets no display runs in silence."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

MoveBar = Callable[..., None]
"""Takes the absolute count done, the text behind the bar, and the total, once it is known."""


@contextmanager
def _no_bar(_title: str, _total: int | None) -> Iterator[MoveBar]:
    yield lambda *_arguments: None


@dataclass(frozen=True)
class Display:
    """Shows notes and progress bars; by default it shows nothing."""

    note: Callable[[str], None] = lambda _message: None
    """Shows one line."""
    progress_bar: Callable[[str, int | None], AbstractContextManager[MoveBar]] = _no_bar
    """Shows a bar with a title, and a total if that is known, for as long as the context is open."""


SILENCE: Final = Display()
