"""`teacher-service log`: verify the log of queries, and export it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from teacher_service.cli.options import AsJson, DataDir, example, path

log_command = typer.Typer(
    no_args_is_help=True,
    help="Verify the log of all queries, and export it.",
    epilog=example("teacher-service log verify"),
)


@log_command.command("verify", epilog=example("teacher-service log verify --json"))
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
    from teacher_service.cli import log

    log.verify_log(expect, data_dir=data_dir, as_json=as_json)


@log_command.command(
    "export", epilog=example("teacher-service log export --format csv --since 2026-01-01 --output queries.csv")
)
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
    from teacher_service.cli import log

    log.export_log(file_format, output, key_id=key, since=since, until=until, data_dir=data_dir)
