"""Options that several commands take."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from shared.expectations import complaints


def path(text: object) -> Path:
    """A path on the command line, with `~` expanded, as in `--output=~/log.csv`."""
    try:
        return Path(str(text)).expanduser()
    except RuntimeError as error:
        raise typer.BadParameter("expected ~ or the name of a user after it") from error


def example(command: str) -> str:
    """The end of a command's help: a command line that works as it stands, once its files exist."""
    return f"Example: {command}"


def print_version(is_given: bool) -> None:
    """Print the version, and end the command."""
    if is_given:
        from importlib.metadata import version

        print(f"teacher-service {version('tuition')}")
        raise typer.Exit


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of the SQLite ledger; default teacher-data. Overrides TEACHER_DATA_DIR."),
]


class ExplainedOptions(TyperGroup):
    """A group of commands; a wrong value of an option is explained as that of a setting is."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises `typer.BadParameter` in our own words."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            if isinstance(error.__cause__, ValidationError):
                error.message = complaints(error.__cause__)
            raise
