"""The `teacher-service` command: serve a model, manage keys, check and export the log.

Results go to standard output, logs and errors to standard error. The exit statuses are in `shared/exit_status.py`.
"""

from typing import Annotated

import typer

from shared.exit_status import legend
from teacher_service.cli.commands.keys import keys_command
from teacher_service.cli.commands.log import log_command
from teacher_service.cli.commands.packing import pack
from teacher_service.cli.commands.serving import serve
from teacher_service.cli.options import ExplainedOptions, example, print_version

app = typer.Typer(
    cls=ExplainedOptions,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Serve a model's logits with a quota for each API key, and log every query.",
    epilog=f"{example('teacher-service serve --weights teacher.safetensors')}\n\n{legend()}",
)
app.add_typer(keys_command, name="keys")
app.add_typer(log_command, name="log")
app.command(
    epilog=example(
        "teacher-service pack --network torchvision:resnet50 --state-dict my.pth --class-names names.txt "
        "--preprocessing imagenet -o teacher.safetensors"
    )
)(pack)
app.command(epilog=example("teacher-service serve --weights teacher.safetensors --port 8000"))(serve)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the program itself; `help=` above is what its help begins with."""


def main() -> None:
    """Run the command."""
    app()
