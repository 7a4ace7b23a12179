"""`teacher-service serve`."""

from pathlib import Path
from typing import Annotated

import typer

from teacher_service.cli.options import DataDir


def serve(
    weights: Annotated[
        Path | None,
        typer.Option(
            help="File to serve, as `pack`, `distill-worker train` or `distill-worker export` writes it. Overrides "
            "TEACHER_WEIGHTS."
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
            help="Run code that the file names or holds: a network of your own, or a TorchScript or torch.export "
            "archive. Overrides TEACHER_TRUST_CODE.",
        ),
    ] = None,
    stop_with_input: Annotated[
        bool,
        typer.Option(
            "--stop-with-input",
            help="Stop also when standard input ends, as a pipe does when the program ends that started this one.",
        ),
    ] = False,
) -> None:
    """Serve a model until SIGTERM, SIGINT or SIGHUP. Prints the address once the service listens.

    Without an option, its environment variable applies. Other settings, such as TEACHER_DATABASE_URL and
    TEACHER_ADMIN_KEY, are environment variables only; docs/operating.md lists them all.
    """
    from teacher_service.cli.console import read_settings

    settings = read_settings(
        weights=weights, host=host, port=port, data_dir=data_dir, device=device, trust_code=trust_code
    )
    from teacher_service.cli.serving import serve  # torch takes seconds to import; a wrong setting ends before

    serve(settings, stops_with_input=stop_with_input)
