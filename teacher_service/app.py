"""The FastAPI application: what is opened when the service starts, and closed when it stops."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib.metadata import version
from typing import Final

import torch
from fastapi import FastAPI

from teacher_service.api.dependencies import Service
from teacher_service.api.openapi.document import openapi_document
from teacher_service.api.problem_responses import render_refusals
from teacher_service.api.request_id import RequestIds
from teacher_service.api.routes import (
    admin_history as history_admin,
)
from teacher_service.api.routes import (
    admin_keys as admin,
)
from teacher_service.api.routes import (
    history as own_history,
)
from teacher_service.api.routes import (
    infer as inference,
)
from teacher_service.api.routes import (
    metrics as statistics,
)
from teacher_service.api.routes import (
    models as model,
)
from teacher_service.api.routes import (
    problems,
    quota,
)
from teacher_service.database.engine import open_database, open_process_lock
from teacher_service.inference.batcher import MicroBatcher
from teacher_service.inference.counters import Statistics
from teacher_service.inference.query_runner import Desk
from teacher_service.inference.readiness import Readiness
from teacher_service.keys.store import KeyStore
from teacher_service.ledger.answer_retention import forget_answers
from teacher_service.ledger.group_commit import GroupCommit
from teacher_service.ledger.ledger import Clock, Ledger
from teacher_service.models import Teacher
from teacher_service.query_log.history import History
from teacher_service.settings import Settings

_CPU_PASS_SIZE: Final = 16
"""What one pass computes for 16 images fits a processor's cache; for 64 it does not, and each takes longer."""


def create_app(settings: Settings, teacher: Teacher, clock: Clock = time.time) -> FastAPI:
    """The service, not yet started: its ledger is opened and its model warmed when the application starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = open_database(settings.ledger)
        with open_process_lock(engine) as instance:
            commits = GroupCommit(engine)
            ledger = Ledger(engine, commits, instance, clock, retention_seconds=3600 * settings.answer_retention_hours)
            ledger.recover()
            numbers = Statistics()
            batcher = MicroBatcher(
                teacher.predict,
                pass_size=_pass_size(settings, teacher),
                batch_timeout_seconds=settings.batch_timeout_seconds,
                max_queued_samples=settings.max_queued_samples,
                prepare_thread=partial(_use_threads, settings.model_threads),
                on_pass=numbers.count_pass,
            )
            await batcher.warm_up(teacher.image_shape)
            desk = Desk(ledger, batcher)
            sweeper = asyncio.create_task(forget_answers(ledger), name="retention")
            keys, readiness = KeyStore(engine, commits, clock), Readiness(ledger, desk, clock)
            history = History(engine, clock)
            app.state.service = Service(settings, teacher, keys, ledger, desk, readiness, numbers, history)
            try:
                yield
            finally:
                sweeper.cancel()
                await desk.drain()
                await batcher.close()
                commits.close()
                engine.dispose()

    app = FastAPI(
        title="Teacher service",
        version=version("tuition"),
        summary="A model's logits behind a call quota, over the Open Inference Protocol v2.",
        lifespan=lifespan,
    )
    app.include_router(inference.router)  # first, as routes are tried in their order
    app.include_router(statistics.router)  # before `models/{model}`, or `stats` were a model
    app.include_router(model.router)
    app.include_router(quota.router)
    app.include_router(problems.router)
    app.include_router(own_history.router)
    app.include_router(admin.router)
    app.include_router(history_admin.router)
    render_refusals(app)
    app.add_middleware(RequestIds)
    app.openapi = cache(partial(openapi_document, app, settings.model_name, teacher.image_shape))  # type: ignore[method-assign]
    return app


def _pass_size(settings: Settings, teacher: Teacher) -> int:
    by_default = _CPU_PASS_SIZE if teacher.device == "cpu" else settings.max_batch_size
    return min(settings.pass_size or by_default, settings.max_batch_size)


def _use_threads(threads: int | None) -> None:
    """Torch counts these for each thread that runs a model."""
    if threads is not None:
        torch.set_num_threads(threads)
