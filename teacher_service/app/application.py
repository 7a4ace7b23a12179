"""The FastAPI application: its parts are opened when the service starts, and closed when it stops."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib.metadata import version
from typing import Final

import torch
from fastapi import FastAPI

from teacher_service.api.dependencies import AppState
from teacher_service.api.head_requests import HeadRequests
from teacher_service.api.openapi.document import openapi_document
from teacher_service.api.problem_responses import install_problem_handlers
from teacher_service.api.request_id import RequestIds
from teacher_service.api.routes import admin_history, admin_keys, history, infer, metrics, models, problems, quota
from teacher_service.database.engine import open_database, open_process_lock
from teacher_service.inference.batcher import MicroBatcher
from teacher_service.inference.counters import Counters
from teacher_service.inference.query_runner import QueryRunner
from teacher_service.inference.readiness import Readiness
from teacher_service.keys.store import KeyStore
from teacher_service.ledger.answer_retention import forget_answers
from teacher_service.ledger.group_commit import GroupCommit
from teacher_service.ledger.ledger import Clock, Ledger
from teacher_service.models import Teacher
from teacher_service.query_log.history import History
from teacher_service.settings import Settings

_CPU_PASS_SIZE: Final = 16
"""Samples in one pass on a CPU: the activations of 16 images fit its cache; those of 64 do not, and run slower."""


def create_app(settings: Settings, teacher: Teacher, clock: Clock = time.time) -> FastAPI:
    """Create the service without starting it: on start-up it opens the ledger and warms the model up."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = open_database(settings.ledger)
        with open_process_lock(engine) as instance:
            commits = GroupCommit(engine)
            ledger = Ledger(engine, commits, instance, clock, retention_seconds=3600 * settings.answer_retention_hours)
            ledger.recover()
            counters = Counters()
            batcher = MicroBatcher(
                teacher.predict,
                pass_size=_pass_size(settings, teacher),
                batch_timeout_seconds=settings.batch_timeout_seconds,
                max_queued_samples=settings.max_queued_samples,
                prepare_thread=partial(_use_threads, settings.model_threads),
                on_pass=counters.count_pass,
            )
            await batcher.warm_up(teacher.image_shape)
            query_runner = QueryRunner(ledger, batcher)
            sweeper = asyncio.create_task(forget_answers(ledger), name="retention")
            keys, readiness = KeyStore(engine, commits, clock), Readiness(ledger, query_runner, clock)
            app.state.service = AppState(
                settings, teacher, keys, ledger, query_runner, readiness, counters, History(engine, clock)
            )
            try:
                yield
            finally:
                sweeper.cancel()
                await query_runner.drain()
                await batcher.close()
                commits.close()
                engine.dispose()

    app = FastAPI(
        title="Teacher service",
        version=version("tuition"),
        summary="A model's logits behind a call quota, over the Open Inference Protocol v2.",
        lifespan=lifespan,
    )
    app.include_router(infer.router)  # first, as routes are matched in this order
    app.include_router(metrics.router)  # before `models/{model}`, or `stats` would match as a model
    app.include_router(models.router)
    app.include_router(quota.router)
    app.include_router(problems.router)
    app.include_router(history.router)
    app.include_router(admin_keys.router)
    app.include_router(admin_history.router)
    install_problem_handlers(app)
    app.add_middleware(RequestIds)
    app.add_middleware(HeadRequests)
    app.openapi = cache(partial(openapi_document, app, settings.model_name, teacher.image_shape))  # type: ignore[method-assign]
    return app


def _pass_size(settings: Settings, teacher: Teacher) -> int:
    by_default = _CPU_PASS_SIZE if teacher.device == "cpu" else settings.max_batch_size
    return min(settings.pass_size or by_default, settings.max_batch_size)


def _use_threads(threads: int | None) -> None:
    """Set the number of PyTorch's CPU threads, which is a setting of the calling thread."""
    if threads is not None:
        torch.set_num_threads(threads)
