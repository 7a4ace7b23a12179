"""Micro-batching: requests that arrive together share one pass through the model.

One thread runs the model. While it is busy, requests queue; the next pass takes as many as fit. An idle model delays a
pass only while admitted requests have not queued their images yet.

Invariant: each queued request gets its own rows back, in order, or an error; none waits for ever. Images that the model
has taken are computed, even if the client disconnects.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np
import structlog
from numpy.typing import NDArray

from teacher_service.errors.service_errors import Abandoned, Overloaded, PredictionFailed

Images = NDArray[np.uint8]
Rows = NDArray[np.float32]
"""float32 `[samples, values]`: the requested outputs of each sample, concatenated."""

_log = structlog.get_logger(__name__)


class MicroBatcher:
    """Batches requests for `predict`, which maps images `[samples, C, H, W]` and names of outputs to rows.

    Requests for the same outputs share a pass; the others wait for the next one.
    """

    def __init__(
        self,
        predict: Callable[[Images, tuple[str, ...]], Rows],
        *,
        pass_size: int,
        batch_timeout_seconds: float,
        max_queued_samples: int,
        prepare_thread: Callable[[], object] = lambda: None,
        on_pass: Callable[[int, float], object] = lambda _samples, _seconds: None,
    ) -> None:
        """Start the model thread and the batching task.

        Args:
            predict: the model; only one thread calls it.
            pass_size: maximum samples in one pass; a larger request runs alone, in several passes.
            batch_timeout_seconds: how long an idle model waits for admitted requests to queue their images.
            max_queued_samples: maximum samples admitted and not yet answered.
            prepare_thread: called first in the model thread.
            on_pass: called after each successful pass with its samples and its seconds.
        """
        self._predict = predict
        self._pass_size = pass_size
        self._batch_timeout_seconds = batch_timeout_seconds
        self._max_queued_samples = max_queued_samples
        self._on_pass = on_pass
        self.admitted_samples = 0
        self._coming_samples = 0
        self._waiting_samples = 0
        self._waiting: deque[QueueSlot] = deque()
        self._changed = asyncio.Event()
        self._model_thread = ThreadPoolExecutor(1, thread_name_prefix="model", initializer=prepare_thread)
        self._loop_task = asyncio.create_task(self._run(), name="micro-batcher")

    async def warm_up(self, image_shape: tuple[int, ...]) -> None:
        """Run the smallest and the largest pass on black images `[C, H, W]`, so that no request pays for the first."""
        for samples in sorted({1, self._pass_size}):
            black = np.zeros((samples, *image_shape), np.uint8)
            await asyncio.get_running_loop().run_in_executor(self._model_thread, self._predict, black, ("logits",))

    def admit(self, samples: int) -> "QueueSlot":
        """Reserve a slot in the queue, before any quota is held. The caller must call `leave` on it.

        Raises:
            Overloaded: too many samples are admitted and not yet answered.
        """
        if self.admitted_samples + samples > self._max_queued_samples:
            raise Overloaded(
                f"queue: expected at most {self._max_queued_samples} samples in flight, got {samples} besides "
                f"{self.admitted_samples} admitted ones. Nothing was charged; try again after Retry-After."
            )
        self.admitted_samples += samples
        self._coming_samples += samples
        return QueueSlot(self, samples)

    async def close(self) -> None:
        """Stop the model thread. Call it when every request has been answered."""
        self._loop_task.cancel()
        await asyncio.gather(self._loop_task, return_exceptions=True)
        self._model_thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                self._changed.clear()
                await self._changed.wait()
            await self._wait_for_more()
            batch = self._take_batch()
            if not batch:
                continue
            try:
                parts, passes = await loop.run_in_executor(self._model_thread, self._compute, batch)
            except Exception as error:
                # The edge of the batching task: on any error of the model, every waiter must get one.
                _log.error("prediction_failed", samples=sum(slot.samples for slot in batch), error=repr(error))
                for slot in batch:
                    slot._fail("The model failed on this batch. Nothing was charged.")
                continue
            seconds = sum(seconds for _, seconds in passes)
            for slot, rows in zip(batch, parts, strict=True):
                slot.compute_seconds = seconds
                if rows is None:
                    slot._fail("The model gave values that are not finite. Nothing was charged.")
                elif not slot._rows.done():
                    slot._rows.set_result(rows)
            for samples, seconds in passes:
                self._on_pass(samples, seconds)

    async def _wait_for_more(self) -> None:
        deadline = asyncio.get_running_loop().time() + self._batch_timeout_seconds
        while 0 < self._waiting_samples < self._pass_size and self._coming_samples:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _take_batch(self) -> "list[QueueSlot]":
        """The queued requests that fit one pass, in order of arrival; empty if all were abandoned."""
        batch: list[QueueSlot] = []
        samples, now = 0, perf_counter()
        while self._waiting:
            slot = self._waiting[0]
            if batch and (slot._outputs != batch[0]._outputs or samples + slot.samples > self._pass_size):
                break
            samples += slot.samples
            slot._waiting, slot.queue_seconds = False, now - slot._since
            batch.append(self._waiting.popleft())
        self._waiting_samples -= samples
        return batch

    def _compute(self, batch: "Sequence[QueueSlot]") -> tuple[list[Rows | None], list[tuple[int, float]]]:
        """In the model thread: the rows of each request, None if they are not finite; the samples and seconds of each
        pass.
        """
        images = np.concatenate([slot._images for slot in batch]) if len(batch) > 1 else batch[0]._images
        pieces, passes = [], []
        for start in range(0, len(images), self._pass_size):
            piece = images[start : start + self._pass_size]
            started = perf_counter()
            rows = self._predict(piece, batch[0]._outputs)
            passes.append((len(piece), perf_counter() - started))
            if len(rows) != len(piece):
                raise ValueError(f"model: expected {len(piece)} rows, one for each image, got {len(rows)}")
            pieces.append(rows)
        rows = np.concatenate(pieces) if len(pieces) > 1 else pieces[0]
        ends = np.cumsum([slot.samples for slot in batch])
        parts = [rows[end - slot.samples : end] for slot, end in zip(batch, ends, strict=True)]
        return [part if np.isfinite(part).all() else None for part in parts], passes


class QueueSlot:
    """One request in the queue. It is admitted, then waits with its images, then is computed, then leaves."""

    def __init__(self, batcher: MicroBatcher, samples: int) -> None:
        self.samples = samples
        self.queue_seconds = 0.0
        """Time the images waited until the model took them."""
        self.compute_seconds = 0.0
        """Duration of the passes that computed them."""
        self._batcher = batcher
        self._coming, self._waiting = True, False
        self._since = 0.0
        self._images: Images
        self._outputs: tuple[str, ...]
        self._rows: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()

    async def predict(self, images: Images, outputs: tuple[str, ...] = ("logits",)) -> Rows:
        """Compute these outputs of `samples` images, in one pass with other requests for the same outputs.

        Raises:
            PredictionFailed: the model raised, or its values are not finite.
            Abandoned: `abandon` was called before the model took the images.
        """
        if self._coming:
            self._withdraw()
            self._images, self._outputs, self._since = images, outputs, perf_counter()
            self._waiting = True
            self._batcher._waiting.append(self)
            self._batcher._waiting_samples += self.samples
        return await self._rows

    def abandon(self) -> None:
        """Withdraw the images if the model has not taken them yet; `predict` then raises Abandoned."""
        if self._coming or self._waiting:
            self._withdraw()
            self._rows.set_exception(Abandoned())
            self._rows.exception()  # it may never be awaited

    def leave(self) -> None:
        """Leave the queue: the samples count as admitted no more."""
        self._withdraw()
        self._batcher.admitted_samples -= self.samples

    def _withdraw(self) -> None:
        if self._coming:
            self._coming = False
            self._batcher._coming_samples -= self.samples
        elif self._waiting:
            self._waiting = False
            self._batcher._waiting.remove(self)
            self._batcher._waiting_samples -= self.samples
        else:
            return
        self._batcher._changed.set()

    def _fail(self, detail: str) -> None:
        if not self._rows.done():
            self._rows.set_exception(PredictionFailed(detail))
