"""Lists and comparisons on standard output."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from distill_worker.cli.console import result_table
from distill_worker.experiments.table import accuracy_rows, markdown, paired_rows

_UNREAD_WIDTH = 240


def show_list(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Text in columns, as wide as it must be where nobody reads it in a terminal."""
    table = Table(show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_UNREAD_WIDTH)
    console.print(table)


def show_comparison(facts: Mapping[str, Any], *, as_markdown: bool) -> None:
    """The accuracies, the paired tests, and what it cost; `facts` is what `run_comparison` returns."""
    tables = [accuracy_rows(facts)]
    if facts["baseline"] is not None and facts["seeds"] > 1:
        tables.append(paired_rows(facts))
    console = Console(highlight=False)
    teacher = facts["teacher"]
    about = f"{teacher['network']} ({teacher['accuracy']:.2%})" if "network" in teacher else teacher["id"]
    console.print(
        f"{facts['data']}, track {facts['track']}: teacher {about}, student {facts['student']}, test accuracy in "
        f"percent over {facts['seeds']} seeds\n",
        soft_wrap=True,
    )
    for heading, rows in tables:
        if as_markdown:
            print(markdown(heading, rows), end="\n\n")
        else:
            console.print(result_table(heading, rows), "", soft_wrap=False)
    console.print(
        f"calls paid now: {facts['calls_paid']}; from the cache: {facts['cache_hits']}; {facts['seconds']} s",
        soft_wrap=True,
    )
