"""The `teacher-service` command: serve a model, manage keys, check and export the log.

Results go to standard output, logs and errors to standard error. The exit statuses are in `shared/exit_status.py`.
"""

from pathlib import Path
from typing import Annotated

import structlog
import typer

from shared.exit_status import ExitStatus, legend
from teacher_service.cli.console import (
    DataDir,
    ExplainedOptions,
    explained_errors,
    fail,
    log_to_stderr,
    read_settings,
    shown,
)
from teacher_service.cli.keys import keys_command
from teacher_service.cli.log import log
from teacher_service.database.engine import ledger_exists, open_database

app = typer.Typer(
    cls=ExplainedOptions,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Serve a model's logits with a quota for each API key, and log every query.",
    epilog=legend(),
)
app.add_typer(keys_command, name="keys")
app.add_typer(log, name="log")


@app.command()
def serve(
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Weights file, as `distill-worker train` writes it, or ONNX model to serve. Overrides TEACHER_WEIGHTS."
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default 127.0.0.1. Overrides TEACHER_HOST.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on, 0 for any free port; default 8000. Overrides TEACHER_PORT.")
    ] = None,
    data_dir: DataDir = None,
    device: Annotated[str | None, typer.Option(help="auto (default), cpu or cuda. Overrides TEACHER_DEVICE.")] = None,
    trust_code: Annotated[
        bool | None,
        typer.Option(
            "--trust-code",
            help="Run the network code that the weights file names. Overrides TEACHER_TRUST_CODE.",
        ),
    ] = None,
) -> None:
    """Serve a model until SIGTERM, SIGINT or SIGHUP. Prints the address once the service listens.

    Without an option, its environment variable applies. Other settings, such as TEACHER_DATABASE_URL and
    TEACHER_ADMIN_KEY, are environment variables only; docs/operating.md lists them all.
    """
    settings = read_settings(
        weights=weights, host=host, port=port, data_dir=data_dir, device=device, trust_code=trust_code
    )
    from shared.networks.freed_memory import keep_freed_memory  # torch takes seconds to import; `keys` does without it
    from shared.weights import WeightsError
    from teacher_service.api.server import address, listen, serve_on
    from teacher_service.app import create_app
    from teacher_service.models import open_teacher

    keep_freed_memory()
    log_to_stderr(settings.log_level, settings.log_format)
    try:
        teacher = open_teacher(settings)
    except WeightsError as error:
        fail(str(error), ExitStatus.UNUSABLE_FILE)
    except ValueError as error:
        fail(str(error))
    with explained_errors(settings):
        is_new = not ledger_exists(settings.ledger)
        open_database(settings.ledger).dispose()
    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        fail(
            f"{settings.host}:{settings.port}: cannot listen on it ({error.strerror or error}); choose another --port "
            "or --host"
        )
    logger = structlog.get_logger(__name__)
    if is_new:
        logger.info("ledger_created", ledger=shown(settings.ledger))
    logger.info("serving", model=settings.model_name, version=teacher.fingerprint, device=teacher.device)
    print(address(listener), flush=True)
    serve_on(listener, create_app(settings, teacher), settings.drain_seconds)


def main() -> None:
    """Run the command."""
    app()
