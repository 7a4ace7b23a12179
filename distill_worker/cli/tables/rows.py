"""Rows of text as a table on standard output."""

from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len
from rich.table import Table

from distill_worker.cli.console import answers

ROWS_SHOWN: Final = 20
"""Rows of a long table that are printed."""


def result_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A plain table of results; the first column is aligned left, the others right."""
    table = Table(show_edge=False, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    return table


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of results."""
    answers.print(result_table(columns, rows))


def print_rest(rows: int) -> None:
    """Print how many of so many rows are not shown, if any are."""
    if rows > ROWS_SHOWN:
        answers.print(f"and {rows - ROWS_SHOWN} more; --json lists them all")


def print_aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns aligned left, each as wide as its longest text: nothing is shortened, and no line is wrapped."""
    widths = [max(map(cell_len, texts)) for texts in zip(columns, *rows, strict=True)]
    for texts in (columns, *rows):
        padded = (text + " " * (width - cell_len(text)) for text, width in zip(texts, widths, strict=True))
        print("  ".join(padded).rstrip())
