"""What people see: progress and notes on standard error, results on standard output."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from distill_worker.experiments.display import Display, MoveBar

_TOLD_EVERY_SECONDS = 10.0

notes = Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """One line on standard error, printed as it is."""
    notes.print(message, markup=False, soft_wrap=True)


@contextmanager
def progress_bar(title: str, total: int | None = None, *, tells_remaining: bool = True) -> Iterator[MoveBar]:
    """A bar on standard error, shown from its first move on; where that is no terminal, a line now and then.

    The function that it yields takes the absolute count done, the text behind the bar, and the total once it is known.
    Without `tells_remaining` that text says how long it will take, where the pace so far does not.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *([TimeRemainingColumn()] if tells_remaining else []),
        TextColumn("{task.fields[extra]}"),
    )
    with Progress(*columns, console=notes) as progress:
        task = progress.add_task(title, total=total, extra="", visible=False)
        told_at = time.monotonic()

        def move(done: int, extra: str = "", total: int | None = None) -> None:
            nonlocal told_at
            progress.update(task, completed=done, extra=extra, total=total, visible=True)
            if not notes.is_terminal and time.monotonic() - told_at >= _TOLD_EVERY_SECONDS:
                told_at = time.monotonic()
                say(f"{title}: {done} of {progress.tasks[task].total or '?'}, {extra}")

        yield move


TERMINAL: Final = Display(say, progress_bar)
"""Shows the progress of an experiment on standard error."""


def result_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A plain table of results; numbers to the right."""
    table = Table(show_edge=False, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    return table
