"""Micro-batching: requests that arrive together share one pass through the model.

One thread runs the model. While it works, requests gather; the next pass takes as many as fit. An idle model waits
`batch_timeout_seconds` for company before it starts.

Invariant: every submitted request gets its own rows back, in order, or an error; none waits for ever.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from teacher_service.errors import Overloaded, PredictionFailed

Images = NDArray[np.uint8]
Rows = NDArray[np.float32]
"""`[samples, values]`: the outputs that were asked for, one behind the other."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Waiter:
    images: Images
    outputs: tuple[str, ...]
    future: "asyncio.Future[Rows]"


class MicroBatcher:
    """Gathers requests for `predict`, which maps images `[samples, C, H, W]` and the outputs wanted to their rows.

    Requests that want the same outputs share a pass; the others wait for theirs.
    """

    def __init__(
        self,
        predict: Callable[[Images, tuple[str, ...]], Rows],
        *,
        max_batch_size: int,
        batch_timeout_seconds: float,
        max_queued_samples: int,
    ) -> None:
        self._predict = predict
        self._max_batch_size = max_batch_size
        self._batch_timeout_seconds = batch_timeout_seconds
        self._max_queued_samples = max_queued_samples
        self._admitted_samples = 0
        self._waiting: deque[_Waiter] = deque()
        self._arrival = asyncio.Event()
        self._model_thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._loop_task = asyncio.create_task(self._run(), name="micro-batcher")

    @contextmanager
    def room(self, samples: int) -> Iterator[None]:
        """Take a place in the queue before anything is paid for.

        Raises:
            Overloaded: too many samples are admitted and not yet answered.
        """
        if self._admitted_samples + samples > self._max_queued_samples:
            raise Overloaded(
                f"{self._admitted_samples} samples are waiting, and at most {self._max_queued_samples} may. "
                "Nothing was charged; try again in a moment."
            )
        self._admitted_samples += samples
        try:
            yield
        finally:
            self._admitted_samples -= samples

    async def predict(self, images: Images, outputs: tuple[str, ...] = ("logits",)) -> Rows:
        """These outputs of these images, computed together with whatever else is waiting for the same ones.

        Raises:
            PredictionFailed: the model raised, or its values are not finite.
        """
        waiter = _Waiter(images, outputs, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._arrival.set()
        return await waiter.future

    async def close(self) -> None:
        """Stop the model thread. Call it when every request has been answered."""
        self._loop_task.cancel()
        await asyncio.gather(self._loop_task, return_exceptions=True)
        self._model_thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrival.wait()
            await self._wait_for_company()
            batch = self._take_batch()
            samples = sum(len(waiter.images) for waiter in batch)
            try:
                images = np.concatenate([waiter.images for waiter in batch]) if len(batch) > 1 else batch[0].images
                found = await loop.run_in_executor(self._model_thread, self._one_row_each, images, batch[0].outputs)
            except Exception as error:
                # The edge of the model's task: whatever it raised, every waiter has to hear of it.
                _log.error("prediction_failed", samples=samples, error=repr(error))
                for waiter in batch:
                    _fail(waiter, "The model failed on this batch. Nothing was charged.")
                continue
            start = 0
            for waiter in batch:
                rows = found[start : start + len(waiter.images)]
                start += len(waiter.images)
                if not np.isfinite(rows).all():
                    _fail(waiter, "The model gave values that are not finite. Nothing was charged.")
                elif not waiter.future.done():
                    waiter.future.set_result(rows)

    def _one_row_each(self, images: Images, outputs: tuple[str, ...]) -> Rows:
        rows = self._predict(images, outputs)
        if len(rows) != len(images):
            raise ValueError(f"the model gave {len(rows)} rows for {len(images)} images")
        return rows

    async def _wait_for_company(self) -> None:
        deadline = asyncio.get_running_loop().time() + self._batch_timeout_seconds
        while sum(len(waiter.images) for waiter in self._waiting) < self._max_batch_size:
            self._arrival.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._arrival.wait()
            except TimeoutError:
                return

    def _take_batch(self) -> list[_Waiter]:
        batch = [self._waiting.popleft()]
        samples = len(batch[0].images)
        while (
            self._waiting
            and self._waiting[0].outputs == batch[0].outputs
            and samples + len(self._waiting[0].images) <= self._max_batch_size
        ):
            samples += len(self._waiting[0].images)
            batch.append(self._waiting.popleft())
        if self._waiting:
            self._arrival.set()
        else:
            self._arrival.clear()
        return batch


def _fail(waiter: _Waiter, detail: str) -> None:
    if not waiter.future.done():
        waiter.future.set_exception(PredictionFailed(detail))
