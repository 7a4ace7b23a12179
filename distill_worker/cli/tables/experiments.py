"""The results of a comparison and of the demo, on standard output."""

import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from distill_worker.cli.tables.rows import result_table
from distill_worker.errors import counted
from distill_worker.experiments.results.accuracies import methods_of
from distill_worker.experiments.results.table import accuracy_rows, curve_rows, equivalent_rows, markdown, paired_rows


def show_comparison(facts: Mapping[str, Any], *, as_markdown: bool) -> None:
    """Print accuracies, paired tests, equivalent calls and calls; `facts` is what `run_comparison` returns."""
    show_tables(facts, as_markdown=as_markdown)
    Console(highlight=False).print(
        f"calls paid now: {facts['calls_paid']}; from the cache: {facts['cache_hits']}; {facts['seconds']} s",
        soft_wrap=True,
    )


def show_tables(facts: Mapping[str, Any], *, as_markdown: bool) -> None:
    """Print tables and signs of failure; `facts` is what `run_comparison` returns."""
    tables = [accuracy_rows(facts)]
    if facts["baseline"] is not None and facts["seeds"] > 1:
        tables.append(paired_rows(facts))
    if facts["reference"] is not None:
        tables += [curve_rows(facts), equivalent_rows(facts)]
    console = Console(highlight=False)
    teacher = facts["teacher"]
    before = teacher.get("accuracy_before_degradation")
    degraded = "" if before is None else f", {before:.2%} before it was degraded"
    about = (
        f"{teacher['network']} ({teacher['accuracy']:.2%}{degraded})"
        if "network" in teacher
        else teacher["id"] or "none"
    )
    console.print(
        f"{facts['data']}, track {facts['track']}: teacher {about}, student {facts['student']}, test accuracy in "
        f"percent over {counted(facts['seeds'], 'seed')}\n",
        soft_wrap=True,
    )
    for heading, rows in tables:
        if as_markdown:
            print(markdown(heading, rows), end="\n\n")
        else:
            console.print(result_table(heading, rows), "", soft_wrap=False)
    show_signs(facts["warnings"])


def show_signs(signs: Sequence[str]) -> None:
    """Print signs of failure as a list, if there are any."""
    if signs:
        print("What to look at:\n", *(f"- {sign}" for sign in signs), "", sep="\n")


def show_demo(facts: Mapping[str, Any]) -> None:
    """Print the table, the calls, and the next commands to try; `facts` is what `run_demo` returns."""
    console = Console(highlight=False)
    teacher, quota = facts["teacher"], facts["quota"]
    console.print(
        f"\n{facts['data']}: teacher {teacher['network']} ({teacher['accuracy']:.2%}), student {facts['student']}, "
        f"trained on {counted(facts['n'], 'sample')}\n"
    )
    console.print(result_table(("method", "track", "test accuracy %", "std", "seeds", "calls used"), _rows(facts)))
    console.print(
        f"\ncalls paid now: {facts['calls_paid']}; from the cache: {facts['cache_hits']}; "
        f"quota remaining: {quota['remaining']} of {quota['limit']}; {facts['seconds']} s\n"
    )
    show_signs(facts["warnings"])
    command = "distill-worker" if shutil.which("distill-worker") else sys.argv[0]
    again = f"{command} demo" if facts["data"] == "digits" else f"{command} demo --data {facts['data']}"
    console.print("Try next:")
    console.print(f"  {again} --n {facts['n']}\n      spends no call, and every accuracy is the same", soft_wrap=True)
    if more := quota["remaining"] // 2:  # `auto` selects other samples than the rest
        console.print(
            f"  {again} --n {facts['n'] + more}\n"
            f"      spends at most {counted(2 * more, 'more call')} and keeps all cached outputs",
            soft_wrap=True,
        )
    console.print(
        f"  {command} run --help\n      your own runs, with a teacher anywhere; for example, examples/digits.toml",
        soft_wrap=True,
    )


def _rows(facts: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for method in methods_of(facts):
        results = [result for result in facts["results"] if result["method"] == method]
        scores = [100 * result["accuracy"] for result in results]
        spread = f"{statistics.stdev(scores):.2f}" if len(scores) > 1 else "-"
        track, calls = results[0]["track"], str(results[0]["calls"])
        rows.append((method, track, f"{statistics.mean(scores):.2f}", spread, str(len(scores)), calls))
    return rows
