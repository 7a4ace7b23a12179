"""Shared by all commands: settings, error messages, logs and tables.

Results go to standard output, logs and errors to standard error. The exit statuses are in `shared/exit_status.py`.
"""

import io
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast, get_args

import structlog
import typer
from pydantic import SecretStr, ValidationError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from shared.durable.database_url import HIDDEN, shown_url
from shared.exit_status import ExitStatus
from shared.expectations import expectation
from teacher_service.database.engine import Database, LedgerUnusable, explained, ledger_exists, open_database
from teacher_service.errors.service_errors import LedgerUnavailable, ServiceError
from teacher_service.keys.key_file import KeyFileError
from teacher_service.settings import Settings, is_service_link


@contextmanager
def open_ledger(data_dir: Path | None, *, creates: bool = False) -> Iterator[Database]:
    """Open the ledger that the settings name; an error ends the command with a message.

    A missing ledger is created, with a note, if `creates` is true. Otherwise a mistyped folder would become one.
    """
    log_to_stderr()
    settings = read_settings(data_dir=data_dir)
    with explained_errors(settings):
        is_new = not ledger_exists(settings.ledger)
        place = shown(settings.ledger)
        if is_new and not creates:
            fail(
                f"{place}: expected a ledger, got none; name its folder with --data-dir. `keys create` and `serve` "
                "create a ledger",
                ExitStatus.UNUSABLE_FILE,
            )
        engine = open_database(settings.ledger)
        if is_new:
            print(f"{place}: a new ledger was created", file=sys.stderr)
        try:
            yield engine
        finally:
            engine.dispose()


def shown(ledger: str | Path) -> str:
    """The place of a ledger for messages: its file, or its URL without the password."""
    return shown_url(ledger).removeprefix("sqlite:///") if isinstance(ledger, str) else str(ledger)


@contextmanager
def explained_errors(settings: Settings) -> Iterator[None]:
    """End the command with a message on an error that is not a defect."""
    try:
        with explained(settings.ledger):
            yield
    except LedgerUnavailable as error:
        fail(error.detail, ExitStatus.UNUSABLE_FILE)
    except ServiceError as error:
        fail(error.detail)
    except (KeyFileError, LedgerUnusable) as error:
        fail(str(error), ExitStatus.UNUSABLE_FILE)


def read_settings(**options: Any) -> Settings:
    """The settings from the options that are not None and from the environment."""
    link = os.environ.get("TEACHER_PORT")
    if options.get("port") is None and is_service_link(link):
        print(
            f"note: TEACHER_PORT={link} is ignored: Kubernetes sets it for a service named teacher. To choose a port, "
            "use --port; to have no such variables, set enableServiceLinks: false",
            file=sys.stderr,
        )
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        fail(_complaint(error.errors(include_url=False)[0]))


def _complaint(problem: Any) -> str:
    """A sentence about a setting. What a secret, or all settings together, were set to is not in it."""
    field = ".".join(str(part) for part in problem["loc"])
    message = str(problem["ctx"]["error"]) if problem["type"] == "value_error" else ""
    if not field:
        return message
    annotation = Settings.model_fields[field].annotation if field in Settings.model_fields else None
    if SecretStr in (annotation, *get_args(annotation)):
        least = problem.get("ctx", {}).get("min_length")
        return f"{field}: {message if least is None else f'expected at least {least} characters, got fewer'}"
    if not message:
        return f"{field}: {expectation(problem, table='an object')}"
    if "got " in message:
        return f"{field}: {message}"
    got = shown_url(str(problem["input"])) if field == "database_url" else repr(problem["input"])
    return f"{field}: {message}, got {'a text that is not shown, as it may have a password' if got == HIDDEN else got}"


def print_table(rows: Sequence[Mapping[str, Any]], *, empty: str, whole: Sequence[str] = ()) -> None:
    """Print a table, whose values are never cut.

    Args:
        rows: the values by column.
        empty: what is printed in place of a table without rows.
        whole: columns whose values are on one line, so that they can be copied. In a narrow terminal the others wrap.
    """
    columns = [Column(name, overflow="fold", no_wrap=name in whole) for name in (rows[0] if rows else [empty])]
    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row.values()))  # a text, as a name may have square brackets
    console = Console()
    if not console.is_terminal:  # a file or a program reads it, which has no width
        console.width = max(console.width, Measurement.get(console, console.options.update(width=10**4), table).maximum)
    console.print(table)


def log_to_stderr(level: str = "info", form: str = "logfmt") -> None:
    """Log to standard error, one event a line: as `key=value`, or as a JSON object if `form` is `json`."""
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
        logger_factory=structlog.PrintLoggerFactory(file=cast(TextIO, _BestEffortStream(sys.stderr))),
        cache_logger_on_first_use=True,
    )


class _BestEffortStream(io.TextIOBase):
    """A log stream that ignores write errors, such as a full disk or a closed pipe."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()


def fail(message: str, status: ExitStatus = ExitStatus.WRONG_USAGE) -> NoReturn:
    """Print the message and exit with the status."""
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(status)
