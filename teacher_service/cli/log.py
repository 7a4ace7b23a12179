"""`teacher-service log`: whether the log is whole, and what is in it."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import typer

from shared.atomic_file import atomic_replacement
from shared.times import parse_time
from teacher_service.cli.console import AsJson, DataDir, fail, open_ledger
from teacher_service.query_log.export import export_rows
from teacher_service.query_log.export_formats import FORMATS, MissingExtra
from teacher_service.query_log.verify import verify
from teacher_service.query_log.verify_report import Head

log = typer.Typer(no_args_is_help=True, help="The log of every query: checked, and given to other programs.")


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


@log.command("export")
def export_log(
    file_format: Annotated[Literal["jsonl", "csv", "parquet"], typer.Option("--format")] = "jsonl",
    output: Annotated[Path | None, typer.Option(help="The file to write, else standard output.")] = None,
    key: Annotated[str | None, typer.Option(metavar="ID", help="The queries of this key alone.")] = None,
    since: Annotated[str | None, typer.Option(help="Admitted from then on: an ISO 8601 date or time, UTC.")] = None,
    until: Annotated[str | None, typer.Option(help="Admitted before then.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Write one row a query, oldest first: its facts, and the sequence and hash of its entries in the log.

    In CSV, text that a spreadsheet would run as a formula (it begins with = + - @, and a caller may have chosen it) has
    a ' before it. Parquet needs the extra `parquet`.
    """
    first, last = _moment("since", since), _moment("until", until)
    with open_ledger(data_dir, existing=True) as engine:
        try:
            with _opened(output) as file:
                FORMATS[file_format](export_rows(engine, key_id=key, since=first, until=last), file)
        except MissingExtra as error:
            fail(str(error))
        except BrokenPipeError:
            raise
        except OSError as error:
            fail(f"{output or 'standard output'}: cannot be written ({error.strerror or error})")


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """A file that takes its place when it is whole, or standard output."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with atomic_replacement(output) as partial, partial.open("wb") as file:
        yield file


def _moment(option: str, said: str | None) -> float | None:
    try:
        return None if said is None else parse_time(said)
    except ValueError as error:
        fail(f"{option}: {error}")


def _tell_progress(done: int, total: int) -> None:
    if done:
        print(f"{done} of {total} entries", file=sys.stderr)
