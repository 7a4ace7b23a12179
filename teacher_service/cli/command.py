"""The `teacher-service` command: serve a model, manage keys, check and export the log.

Results go to standard output, logs and errors to standard error. The exit statuses are in `shared/exit_status.py`.
"""

import typer

from shared.exit_status import legend
from teacher_service.cli.commands.keys import keys_command
from teacher_service.cli.commands.log import log_command
from teacher_service.cli.commands.packing import pack
from teacher_service.cli.commands.serving import serve
from teacher_service.cli.options import ExplainedOptions

app = typer.Typer(
    cls=ExplainedOptions,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Serve a model's logits with a quota for each API key, and log every query.",
    epilog=legend(),
)
app.add_typer(keys_command, name="keys")
app.add_typer(log_command, name="log")
app.command()(pack)
app.command()(serve)


def main() -> None:
    """Run the command."""
    app()
