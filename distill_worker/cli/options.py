"""Arguments and options that several commands take."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup


def expanded_path(text: object) -> Path:
    """A path on the command line, with `~` and variables expanded, as in `--root=~/data`."""
    from distill_worker.config.places import expanded

    return expanded(str(text))


ConfigFile = Annotated[
    Path, typer.Argument(metavar="CONFIG.toml", parser=expanded_path, help="The file of the run; see examples/.")
]
OptionalConfigFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="[CONFIG.toml]",
        parser=expanded_path,
        help="The file of the run; see examples/. Without it, --data and --teacher-url say what the run is.",
        show_default=False,
    ),
]
DataPath = Annotated[
    Path | None,
    typer.Option(
        "--data",
        parser=expanded_path,
        metavar="PATH",
        help="Your data: a folder of images, with or without a folder for each class; a text file with the path of an "
        "image in each line; a CSV file; an .npz file; a folder from Hugging Face's save_to_disk; Parquet files; "
        "WebDataset's tar files. For data.name and data.path.",
    ),
]
TeacherUrl = Annotated[str | None, typer.Option("--teacher-url", metavar="URL", help="For teacher.url.")]
Calls = Annotated[int | None, typer.Option("--n", min=2, help="How many samples to buy. For budget.n.")]
Network = Annotated[str | None, typer.Option("--student", metavar="NETWORK", help="For student.network.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one value of the file; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
MaxCalls = Annotated[
    int | None,
    typer.Option(min=0, help="Buy at most this many samples now; run the same command again to buy the next ones."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Spend calls without a question.")]
All = Annotated[
    bool,
    typer.Option("--all", help="Buy the whole training set if budget.n is not set. Without a terminal, add --yes."),
]
Abandon = Annotated[
    Literal["other-keys", "all"] | None,
    typer.Option(
        help="Give up open purchases of these samples: those of other API keys, or all, also those with answers that "
        "cannot be read. The samples are bought again, and may be paid for twice."
    ),
]
Fresh = Annotated[
    bool,
    typer.Option(
        help="Train again. An earlier run is moved to a folder before-1, or a higher number, in its directory."
    ),
]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Run the code that the weights file names as its network.")
]


class ExplainedOptions(TyperGroup):
    """A group of commands; a wrong value of an option is explained as that of a setting is."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises `typer.BadParameter` in our own words."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            from pydantic import ValidationError  # the import takes as long as the rest of the help

            from shared.expectations import complaints

            if isinstance(error.__cause__, ValidationError):
                error.message = complaints(error.__cause__)
            raise
