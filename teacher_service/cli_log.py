"""`teacher-service log`: whether the log is whole."""

import json
import sys
import time
from typing import Annotated

import typer

from teacher_service.audit.report import Head
from teacher_service.audit.verify import verify
from teacher_service.console import AsJson, DataDir, fail, open_ledger

log = typer.Typer(no_args_is_help=True, help="The log of every query: checked.")


@log.command("verify")
def verify_log(
    data_dir: DataDir = None,
    expect: Annotated[
        str | None,
        typer.Option(
            metavar="SEQUENCE:HASH",
            help="A head that was printed earlier and noted elsewhere: nothing up to there may have been rewritten.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute every hash and every sum, and tell what was altered, removed, slipped in or reordered.

    Runs beside the service and holds nothing up. The head that it prints is to be noted elsewhere: somebody who can
    rewrite the whole ledger can rewrite its hashes too, but not what you noted. Exit status 1: something is wrong.
    """
    try:
        noted = None if expect is None else Head.parse(expect)
    except ValueError as error:
        fail(f"expect: {error}")
    with open_ledger(data_dir, existing=True) as engine:
        report = verify(engine, now=time.time(), expect=noted, progress=_tell_progress)
    if as_json:
        facts = {"entries": report.entries, "head": str(report.head)}
        print(json.dumps({**facts, "problems": report.problems, "problem_count": report.problem_count}))
    else:
        for problem in report.problems:
            print(f"problem: {problem}")
        if report.problem_count > len(report.problems):
            print(f"and {report.problem_count - len(report.problems)} more")
        print(f"entries: {report.entries}\nhead: {report.head}\nproblems: {report.problem_count}")
    if report.problem_count:
        raise typer.Exit(1)


def _tell_progress(done: int, total: int) -> None:
    if done:
        print(f"{done} of {total} entries", file=sys.stderr)
