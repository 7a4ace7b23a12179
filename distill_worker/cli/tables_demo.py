"""How the demo's facts look in a terminal."""

import shutil
import statistics
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from distill_worker.cli.console import result_table


def show_demo(facts: Mapping[str, Any]) -> None:
    """The table, what it cost, and what to try next; `facts` is what `run_demo` returns."""
    console = Console(highlight=False)
    teacher, quota = facts["teacher"], facts["quota"]
    console.print(
        f"\n{facts['data']}: teacher {teacher['network']} ({teacher['accuracy']:.2%}), student {facts['student']}, "
        f"trained on the same {facts['n']} samples\n"
    )
    console.print(result_table(("method", "test accuracy %", "std", "seeds", "calls used"), _rows(facts)))
    console.print(
        f"\ncalls paid now: {facts['calls_paid']}; from the cache: {facts['cache_hits']}; "
        f"quota remaining: {quota['remaining']} of {quota['limit']}; {facts['seconds']} s\n"
    )
    command = "distill-worker" if shutil.which("distill-worker") else sys.argv[0]
    again = f"{command} demo" if facts["data"] == "digits" else f"{command} demo --data {facts['data']}"
    console.print("Try next:")
    console.print(f"  {again} --n {facts['n']}\n      pays nothing, and every accuracy is the same", soft_wrap=True)
    if remaining := quota["remaining"]:
        console.print(
            f"  {again} --n {facts['n'] + remaining}\n      buys {remaining} more calls and keeps what it has",
            soft_wrap=True,
        )
    console.print(
        f"  {command} run --help\n      your own runs, against a teacher anywhere; examples/digits.toml is one",
        soft_wrap=True,
    )


def _rows(facts: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for method in dict.fromkeys(result["method"] for result in facts["results"]):
        scores = [100 * result["accuracy"] for result in facts["results"] if result["method"] == method]
        spread = f"{statistics.stdev(scores):.2f}" if len(scores) > 1 else "-"
        calls = "0" if method == "ce" else str(facts["n"])
        rows.append((method, f"{statistics.mean(scores):.2f}", spread, str(len(scores)), calls))
    return rows
