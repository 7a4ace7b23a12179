"""What the commands of `teacher-service log` do: verify the log of queries, and export it."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import typer

from shared.atomic_file import atomic_replacement
from shared.exit_status import ExitStatus
from shared.times import parse_time
from teacher_service.cli.console import fail, open_ledger
from teacher_service.query_log.export import export_rows
from teacher_service.query_log.export_formats import FORMATS, MissingExtra
from teacher_service.query_log.verify import verify
from teacher_service.query_log.verify_report import Head


def verify_log(expect: str | None, *, data_dir: Path | None, as_json: bool) -> None:
    """Recompute every hash and every sum, and report what was altered. The exit status says whether anything was."""
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


def export_log(
    file_format: Literal["jsonl", "csv", "parquet"],
    output: Path | None,
    *,
    key_id: str | None,
    since: str | None,
    until: str | None,
    data_dir: Path | None,
) -> None:
    """Export one row per query, oldest first, to a file or to standard output."""
    first, last = _parse_time("since", since), _parse_time("until", until)
    with open_ledger(data_dir) as engine:
        try:
            with _opened(output) as file:
                FORMATS[file_format](export_rows(engine, key_id=key_id, since=first, until=last), file)
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
