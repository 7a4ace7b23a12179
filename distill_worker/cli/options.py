"""What several commands take."""

from pathlib import Path
from typing import Annotated

import typer

from distill_worker.buying.order import Abandoned

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="The run; see examples/.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one value of the file; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
MaxCalls = Annotated[
    int | None, typer.Option(min=0, help="Buy at most so many samples now; asking again buys the next ones.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Spend without asking.")]
Abandon = Annotated[
    Abandoned | None,
    typer.Option(help="Give up purchases whose end is not known; what they paid for may be paid again."),
]
