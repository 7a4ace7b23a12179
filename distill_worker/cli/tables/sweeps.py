"""The results of a sweep, and how far it is, on standard output."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from distill_worker.cli.tables.experiments import show_signs, show_tables
from distill_worker.cli.tables.rows import ROWS_SHOWN, result_table
from distill_worker.errors import counted
from distill_worker.experiments.sweep.grid import title_of
from distill_worker.experiments.sweep.progress import STATES, duration


def show_sweep(facts: Mapping[str, Any], *, as_markdown: bool) -> None:
    """Print the tables of every point, the answer in words, and the calls; `facts` is what `run_sweep` returns."""
    console = Console(highlight=False)
    for point in facts["points"]:
        if title := title_of(point["point"]):
            console.print(f"## {title}\n" if as_markdown else f"[bold]{title}[/bold]", soft_wrap=True)
        show_tables(point, as_markdown=as_markdown)
    show_signs(facts["warnings"])
    if facts["choices"]:
        console.print("Chosen by validation accuracy:\n", soft_wrap=True)
        for sentence in facts["choices"]:
            console.print(f"- {sentence}", markup=False, soft_wrap=True)
        console.print()
    if facts["question"]:
        console.print(f"{facts['question']}\n", markup=False, soft_wrap=True)
        for sentence in _shown(facts["answers"]):
            console.print(f"- {sentence}", markup=False, soft_wrap=True)
        console.print()
    console.print(
        f"calls paid now: {facts['calls_paid']}; from the cache: {facts['cache_hits']}; {facts['seconds']} s; "
        f"the results of all students are in {facts['directory']}/results.csv",
        soft_wrap=True,
    )


def _shown(sentences: Sequence[str]) -> list[str]:
    """The first sentences of an answer, and the last, which counts the significant differences."""
    if (others := len(sentences) - ROWS_SHOWN - 1) <= 0:
        return list(sentences)
    return [*sentences[:ROWS_SHOWN], f"{counted(others, 'more difference')} on the page.", sentences[-1]]


def show_status(facts: Mapping[str, Any]) -> None:
    """Print the students of every point by state, who trains, the calls and the time left; of `status_of`."""
    console = Console(highlight=False)
    if not facts["started"]:
        console.print(f"{facts['directory']}: not started", markup=False, soft_wrap=True)
        return
    rows = [(point["point"] or "all", *(str(point[state]) for state in STATES)) for point in facts["points"]]
    console.print(result_table(("point", *STATES), rows))
    students = ", ".join(f"{number} {state}" for state, number in facts["students"].items())
    console.print(f"\nstudents: {students}; calls bought: {facts['calls_bought']}", soft_wrap=True)
    if facts["buyer"] is not None:
        console.print(f"{facts['buyer']} trains the teacher or buys", markup=False, soft_wrap=True)
    if facts["holders"]:
        console.print(f"in training by {', '.join(facts['holders'])}", markup=False, soft_wrap=True)
    if facts["seconds_left"] is not None:
        console.print(f"about {duration(facts['seconds_left'])} left", soft_wrap=True)
    for student, error in facts["failures"].items():
        console.print(f"failed: {student}: {error}", markup=False, soft_wrap=True)
