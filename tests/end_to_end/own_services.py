"""The real service with one thing of the tests' own in it: what the modules that are run as processes share."""

import time
from collections.abc import Callable

from fastapi import FastAPI

from teacher_service.api.server import listen, serve_on
from teacher_service.app import create_app
from teacher_service.cli.console import log_to_stderr
from teacher_service.models import open_teacher
from teacher_service.settings import Settings


def serve(clock: Callable[[], float] = time.time, prepare: Callable[[FastAPI], object] = lambda _app: None) -> None:
    """Serve as `teacher-service serve` does, by this clock, once the application is prepared."""
    settings = Settings()
    log_to_stderr(settings.log_level)
    app = create_app(settings, open_teacher(settings), clock)
    prepare(app)
    serve_on(listen(settings.host, settings.port), app, settings.drain_seconds)
