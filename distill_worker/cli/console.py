"""The terminal: progress and notes on standard error, text on standard output."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Final

from rich.console import Console

from distill_worker.experiments.display import Display, MoveBar

_LINE_EVERY_SECONDS = 10.0
"""How often progress becomes a line where standard error is no terminal."""

notes = Console(stderr=True, highlight=False)
"""Standard error."""
answers = Console(highlight=False, soft_wrap=True)
"""Standard output."""


def say(message: str) -> None:
    """Print one line on standard error, without markup. A terminal that was closed is no error."""
    with suppress(OSError):
        notes.print(message, markup=False, soft_wrap=True)


def be_silent() -> None:
    """Print neither notes nor progress from now on, only errors: another process prints them."""
    notes.quiet = True


@contextmanager
def silence(*, quiet: bool) -> Iterator[None]:
    """Print neither notes nor progress meanwhile, if `quiet`."""
    before, notes.quiet = notes.quiet, notes.quiet or quiet
    try:
        yield
    finally:
        notes.quiet = before


@contextmanager
def progress_bar(title: str, total: int | None = None, *, shows_remaining_time: bool = True) -> Iterator[MoveBar]:
    """A bar on standard error, visible from its first move; without a terminal or a notebook that can show it, one
    line every ten seconds.

    The function that it yields takes the absolute count done, the text behind the bar, and the total, once it is known.
    Pass `shows_remaining_time=False` where that text says how much time remains.
    """
    from rich.progress import (  # only commands that run need bars
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *([TimeRemainingColumn()] if shows_remaining_time else []),
        TextColumn("{task.fields[extra]}"),
    )
    is_shown = notes.is_terminal or _notebook_shows_bars()
    progress = Progress(*columns, console=notes, disable=notes.is_jupyter and not is_shown)
    progress.start()
    try:
        task = progress.add_task(title, total=total, extra="", visible=False)
        printed_at = time.monotonic()

        def move(done: int, extra: str = "", total: int | None = None) -> None:
            nonlocal printed_at
            progress.update(task, completed=done, extra=extra, total=total, visible=True)
            if not is_shown and time.monotonic() - printed_at >= _LINE_EVERY_SECONDS:
                printed_at = time.monotonic()
                say(f"{title}: {done} of {progress.tasks[task].total or '?'}, {extra}")

        yield move
    finally:
        with suppress(OSError):  # of a terminal that was closed
            progress.stop()


def _notebook_shows_bars() -> bool:
    """Whether standard error is a notebook's, which has the package that draws there."""
    return notes.is_jupyter and find_spec("ipywidgets") is not None


TERMINAL: Final = Display(say, progress_bar)
"""The display of experiments: notes and bars on standard error."""
