"""The `distill-worker` command.

Results go to standard output, progress and errors to standard error. An error is one line that says what to do, and the
exit status says of which kind it is: see `shared/exit_status.py`.
"""

import signal
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import typer

from distill_worker.cli.commands.beginning import doctor, init
from distill_worker.cli.commands.buying import fetch, plan, reconcile
from distill_worker.cli.commands.cache import app as cache
from distill_worker.cli.commands.data import app as data
from distill_worker.cli.commands.experiments import compare, demo, forecast, report, sweep
from distill_worker.cli.commands.lists import datasets, methods, networks, strategies
from distill_worker.cli.commands.training import run, train
from distill_worker.cli.commands.weights import analyse, degrade, evaluate, export, predict
from distill_worker.cli.console import progress_bar, say
from distill_worker.cli.examples import ending
from distill_worker.cli.options import ExplainedOptions
from distill_worker.data.pictures.display import DISPLAY, Display
from distill_worker.errors import WorkerError
from distill_worker.training.ranks.launch import check_alone
from shared.exit_status import legend

_COMMANDS: Final[Mapping[str, tuple[Callable[..., Any], ...]]] = {
    "Begin": (demo, init, doctor),
    "One run": (plan, fetch, reconcile, train, run),
    "What a run can name": (datasets, methods, networks, strategies),
    "Many runs": (compare, sweep, forecast, report),
    "A trained network": (analyse, evaluate, predict, export, degrade),
}
"""The commands by the panel of the help that lists them."""
_GROUPS: Final = "Files"

app = typer.Typer(
    cls=ExplainedOptions,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Buy a teacher's outputs once, cache them, and train students on them. Start with `distill-worker demo`.",
    epilog=ending("distill-worker demo", "distill-worker init", "distill-worker run run.toml")
    + "\n\nThe API key comes from TEACHER_API_KEY, or from the file that TEACHER_API_KEY_FILE names. "
    f"{legend()} More: docs/command-line.md.",
)
for _panel, _commands in _COMMANDS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
app.add_typer(cache, name="cache", rich_help_panel=_GROUPS)
app.add_typer(data, name="data", rich_help_panel=_GROUPS)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        print(f"distill-worker {version('tuition')}")
        raise typer.Exit


@app.callback()
def check_ranks(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version of Tuition."),
    ] = False,
) -> None:
    """Let only `train` run in several processes."""
    if context.invoked_subcommand not in (None, "train"):
        check_alone(str(context.invoked_subcommand))


def main() -> None:
    """Run the command; a `WorkerError` becomes one line and its exit status.

    SIGTERM and SIGHUP end it as an interrupt does: it waits for the answers that are paid for, and keeps them. Under
    `nohup`, SIGHUP stays ignored.
    """
    DISPLAY.set(Display(say, progress_bar))
    signals = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, signal.default_int_handler) for number in signals}
    try:
        app()
    except WorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
