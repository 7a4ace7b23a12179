"""What `methods`, `strategies` and `datasets` print: what a run can name."""

import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from distill_worker.data.datasets import DATASETS
from distill_worker.data.selection import described as described_strategies
from distill_worker.methods import described as described_methods

_WIDTH_OF_A_FILE = 240
"""Columns of a list that is not printed to a terminal."""


def methods(*, as_json: bool) -> None:
    """List the methods."""
    rows = described_methods()
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        print_list(
            ("method", "access", "what it does", "source", "needs"),
            [(row["name"], row["access"], row["summary"], row["paper"], ", ".join(row["needs"])) for row in rows],
        )
        print("\nA file that names no method, or `auto`, takes kd and ckd, and chooses a schedule: docs/auto.md")


def strategies(*, as_json: bool) -> None:
    """List the strategies that select samples."""
    rows = described_strategies()
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        print_list(
            ("strategy", "what it chooses", "needs", "n + 1 hold the n", "source"),
            [(row["name"], row["summary"], ", ".join(row["needs"]), row["nested"], row["paper"]) for row in rows],
        )


def datasets(*, as_json: bool) -> None:
    """List the data sets."""
    if as_json:
        print(json.dumps(dict(DATASETS)))
    else:
        print_list(("data set", "what it is"), list(DATASETS.items()))


def print_list(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print text in columns on standard output."""
    table = Table(show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH_OF_A_FILE)
    console.print(table)
