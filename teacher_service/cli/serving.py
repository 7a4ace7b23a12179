"""What `serve` does: open the model and the ledger, listen, and serve until a signal."""

from typing import Final

import structlog

from shared.exit_status import ExitStatus
from shared.weights import WeightsError
from teacher_service.api.server import address, listen, serve_on
from teacher_service.app import create_app
from teacher_service.cli.console import explained_errors, fail, log_to_stderr, shown
from teacher_service.database.engine import ledger_exists, open_database
from teacher_service.models import open_teacher
from teacher_service.models.freed_memory import keep_freed_memory
from teacher_service.settings import Settings

_STANDARD_INPUT: Final = 0
_THIS_MACHINE: Final = ("127.0.0.1", "::1", "localhost")


def serve(settings: Settings, *, stops_with_input: bool = False) -> None:
    """Serve a model until SIGTERM, SIGINT or SIGHUP. Prints the address once the service listens.

    Args:
        settings: of the service.
        stops_with_input: whether it also stops when standard input ends.
    """
    log_to_stderr(settings.log_level, settings.log_format)
    keep_freed_memory()
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
    if settings.host in _THIS_MACHINE:
        port = listener.getsockname()[1]
        logger.info(
            "this_machine_only",
            hint=f"a container reaches the service only with --host 0.0.0.0, at http://host.docker.internal:{port}",
        )
    print(address(listener), flush=True)
    until_end_of = _STANDARD_INPUT if stops_with_input else None
    serve_on(listener, create_app(settings, teacher), settings.drain_seconds, until_end_of)
