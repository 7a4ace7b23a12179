"""What every command shares: its settings, how its errors look, and where it prints.

Results go to standard output, logs and errors to standard error; exit status 2 means that the call was wrong.
"""

import io
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO, cast

import structlog
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Column, Table

from teacher_service.database.engine import Database, LedgerUnusable, explained, open_database, without_password
from teacher_service.errors.service_errors import ServiceError
from teacher_service.keys.key_file import KeyFileError
from teacher_service.settings import Settings

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of the SQLite ledger. TEACHER_DATA_DIR; by default teacher-data."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


@contextmanager
def open_ledger(data_dir: Path | None, *, existing: bool = False) -> Iterator[Database]:
    """The ledger that the settings name; what goes wrong meanwhile ends the command with a message.

    One that is not there is made, unless it has to be an existing one.
    """
    log_to_stderr()
    settings = read_settings(data_dir=data_dir)
    file = str(settings.ledger).removeprefix("sqlite:///")
    if existing and "://" not in file and not Path(file).exists():
        fail(f"{file}: expected a ledger, found none; name its folder with --data-dir")
    with explained_errors(settings):
        engine = open_database(settings.ledger)
        try:
            yield engine
        finally:
            engine.dispose()


@contextmanager
def explained_errors(settings: Settings) -> Iterator[None]:
    """End the command with a message on every error that is not a defect."""
    try:
        with explained(settings.ledger):
            yield
    except ServiceError as error:
        fail(error.detail)
    except (KeyFileError, LedgerUnusable) as error:
        fail(str(error))


def read_settings(**given: Any) -> Settings:
    """The settings of the environment, and of the options that were given (not None)."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        fail(f"{name}: {first['msg']}, got {without_password(repr(first['input']))}")


def print_table(rows: Sequence[Mapping[str, Any]], *, empty: str) -> None:
    """Values are broken over lines in a narrow terminal, never cut: an id is there to be copied."""
    table = Table(*(Column(name, overflow="fold") for name in (rows[0] if rows else [empty])))
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)


def log_to_stderr(level: str = "info", form: str = "logfmt") -> None:
    """One event a line, as `key=value` or, in the form `json`, as an object."""
    logging.basicConfig(level=logging.WARNING, format="event=%(message)r logger=%(name)s level=%(levelname)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer()
            if form == "json"
            else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=cast(TextIO, _Expendable(sys.stderr))),
        cache_logger_on_first_use=True,
    )


class _Expendable(io.TextIOBase):
    """A log that cannot be written, on a full disk or to a reader that is gone, fails nobody."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, said: str) -> int:
        with suppress(OSError):
            self._file.write(said)
        return len(said)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()


def fail(message: str) -> NoReturn:
    """End the command as a wrong call."""
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(2)
