"""`teacher-service log`: verify the log of queries, and export it."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import typer

from shared.atomic_file import atomic_replacement
from shared.exit_status import ExitStatus
from shared.times import parse_time
from teacher_service.cli.console import AsJson, DataDir, fail, open_ledger, path
from teacher_service.query_log.export import export_rows
from teacher_service.query_log.export_formats import FORMATS, MissingExtra
from teacher_service.query_log.verify import verify
from teacher_service.query_log.verify_report import Head

log = typer.Typer(no_args_is_help=True, help="Verify the log of all queries, and export it.")


@log.command("verify")
def verify_log(
    data_dir: DataDir = None,
    expect: Annotated[
        str | None,
        typer.Option(
            metavar="SEQUENCE:HASH",
            help="Head that an earlier verification printed: the log up to it must be unchanged.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute every hash and every sum, and report entries that were altered, removed, inserted or reordered.

    It may run beside the service and does not block it. Store the printed head elsewhere and pass it as --expect next
    time: an attacker with write access to the ledger can rewrite all its hashes, but not your copy of the head. Exit
    status 6 means that the log has problems.
    """
    try:
        noted = None if expect is None else Head.parse(expect)
    except ValueError as error:
        fail(f"expect: {error}")
    with open_ledger(data_dir) as engine:
        report = verify(engine, now=time.time(), expect=noted, progress=_print_progress)
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
        raise typer.Exit(ExitStatus.DIFFERENCE)


@log.command("export")
def export_log(
    file_format: Annotated[Literal["jsonl", "csv", "parquet"], typer.Option("--format", help="File format.")] = "jsonl",
    output: Annotated[
        Path | None, typer.Option(parser=path, metavar="PATH", help="File to write; default standard output.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="ID", help="Export only the queries of this key.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only queries admitted at or after this ISO 8601 date or time, UTC.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only queries admitted before this ISO 8601 date or time, UTC.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Export one row per query, oldest first: its columns, and the sequence numbers and hashes of its log entries.

    In CSV, text that a spreadsheet would run as a formula (it begins with = + - @) is prefixed with '. Parquet requires
    the extra `parquet`.
    """
    first, last = _parse_time("since", since), _parse_time("until", until)
    with open_ledger(data_dir) as engine:
        try:
            with _opened(output) as file:
                FORMATS[file_format](export_rows(engine, key_id=key, since=first, until=last), file)
        except MissingExtra as error:
            fail(str(error))
        except BrokenPipeError:
            raise
        except OSError as error:
            fail(
                f"{output or 'standard output'}: cannot be written ({error.strerror or error})",
                ExitStatus.UNUSABLE_FILE,
            )


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that appears at `output` only when it is whole."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with atomic_replacement(output) as partial, partial.open("wb") as file:
        yield file


def _parse_time(option: str, text: str | None) -> float | None:
    try:
        return None if text is None else parse_time(text)
    except ValueError as error:
        fail(f"{option}: {error}")


def _print_progress(done: int, total: int) -> None:
    if done:
        print(f"{done} of {total} entries", file=sys.stderr)
