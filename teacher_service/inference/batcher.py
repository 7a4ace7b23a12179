"""Micro-batching: requests that arrive together share one pass through the model.

One thread runs the model. While it works, requests gather; the next pass takes as many as fit. An idle model waits for
company only while somebody is on the way: admitted, but not waiting yet.

Invariant: every request that waits gets its own rows back, in order, or an error; none waits for ever. Images that
were taken are computed, whatever becomes of who asked.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter

import numpy as np
import structlog
from numpy.typing import NDArray

from teacher_service.errors.service_errors import Abandoned, Overloaded, PredictionFailed

Images = NDArray[np.uint8]
Rows = NDArray[np.float32]
"""`[samples, values]`: the outputs that were asked for, one behind the other."""

_log = structlog.get_logger(__name__)


class MicroBatcher:
    """Gathers requests for `predict`, which maps images `[samples, C, H, W]` and the outputs wanted to their rows.

    Requests that want the same outputs share a pass; the others wait for theirs.
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
        """Start to gather.

        Args:
            predict: the model; only one thread calls it.
            pass_size: samples of one pass; a larger request runs alone, in several.
            batch_timeout_seconds: how long an idle model waits for those on the way.
            max_queued_samples: samples admitted and not yet answered.
            prepare_thread: called in the model's thread before anything else is.
            on_pass: told of every pass that gave rows, its samples and its seconds.
        """
        self._predict = predict
        self._pass_size = pass_size
        self._batch_timeout_seconds = batch_timeout_seconds
        self._max_queued_samples = max_queued_samples
        self._on_pass = on_pass
        self.admitted_samples = 0
        self._coming_samples = 0
        self._waiting_samples = 0
        self._waiting: deque[Place] = deque()
        self._changed = asyncio.Event()
        self._model_thread = ThreadPoolExecutor(1, thread_name_prefix="model", initializer=prepare_thread)
        self._loop_task = asyncio.create_task(self._run(), name="micro-batcher")

    async def warm_up(self, image_shape: tuple[int, ...]) -> None:
        """Run the smallest and the largest pass on black images `[C, H, W]`, so that no request pays for the first."""
        for samples in sorted({1, self._pass_size}):
            black = np.zeros((samples, *image_shape), np.uint8)
            await asyncio.get_running_loop().run_in_executor(self._model_thread, self._predict, black, ("logits",))

    @contextmanager
    def room(self, samples: int) -> Iterator["Place"]:
        """Take a place in the queue before anything is paid for.

        Raises:
            Overloaded: too many samples are admitted and not yet answered.
        """
        place = self.admit(samples)
        try:
            yield place
        finally:
            place.leave()

    def admit(self, samples: int) -> "Place":
        """`room`, for whoever leaves the place by hand."""
        if self.admitted_samples + samples > self._max_queued_samples:
            raise Overloaded(
                f"{self.admitted_samples} samples are waiting, and at most {self._max_queued_samples} may. "
                "Nothing was charged; try again in a moment."
            )
        self.admitted_samples += samples
        self._coming_samples += samples
        return Place(self, samples)

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
            await self._wait_for_company()
            batch = self._take_batch()
            if not batch:
                continue
            try:
                parts, passes = await loop.run_in_executor(self._model_thread, self._compute, batch)
            except Exception as error:
                # The edge of the model's task: whatever it raised, every waiter has to hear of it.
                _log.error("prediction_failed", samples=sum(place.samples for place in batch), error=repr(error))
                for place in batch:
                    place._fail("The model failed on this batch. Nothing was charged.")
                continue
            seconds = sum(seconds for _, seconds in passes)
            for place, rows in zip(batch, parts, strict=True):
                place.compute_seconds = seconds
                if rows is None:
                    place._fail("The model gave values that are not finite. Nothing was charged.")
                elif not place._rows.done():
                    place._rows.set_result(rows)
            for samples, seconds in passes:
                self._on_pass(samples, seconds)

    async def _wait_for_company(self) -> None:
        deadline = asyncio.get_running_loop().time() + self._batch_timeout_seconds
        while 0 < self._waiting_samples < self._pass_size and self._coming_samples:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _take_batch(self) -> "list[Place]":
        """As many as fit, in order of arrival; none when all who waited gave up."""
        batch: list[Place] = []
        samples, now = 0, perf_counter()
        while self._waiting:
            place = self._waiting[0]
            if batch and (place._outputs != batch[0]._outputs or samples + place.samples > self._pass_size):
                break
            samples += place.samples
            place._waiting, place.queue_seconds = False, now - place._since
            batch.append(self._waiting.popleft())
        self._waiting_samples -= samples
        return batch

    def _compute(self, batch: "Sequence[Place]") -> tuple[list[Rows | None], list[tuple[int, float]]]:
        """In the model's thread: everybody's rows, None where they are not finite; and of each pass its samples and
        its seconds.
        """
        images = np.concatenate([place._images for place in batch]) if len(batch) > 1 else batch[0]._images
        pieces, passes = [], []
        for start in range(0, len(images), self._pass_size):
            piece = images[start : start + self._pass_size]
            started = perf_counter()
            rows = self._predict(piece, batch[0]._outputs)
            passes.append((len(piece), perf_counter() - started))
            if len(rows) != len(piece):
                raise ValueError(f"the model gave {len(rows)} rows for {len(piece)} images")
            pieces.append(rows)
        rows = np.concatenate(pieces) if len(pieces) > 1 else pieces[0]
        ends = np.cumsum([place.samples for place in batch])
        parts = [rows[end - place.samples : end] for place, end in zip(batch, ends, strict=True)]
        return [part if np.isfinite(part).all() else None for part in parts], passes


class Place:
    """One request's room in the queue. It is on the way, then waits, then is computed, and leaves at last."""

    def __init__(self, batcher: MicroBatcher, samples: int) -> None:
        self.samples = samples
        self.queue_seconds = 0.0
        """How long the images waited for the model to take them."""
        self.compute_seconds = 0.0
        """How long the pass took that they were part of."""
        self._batcher = batcher
        self._coming, self._waiting = True, False
        self._since = 0.0
        self._images: Images
        self._outputs: tuple[str, ...]
        self._rows: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()

    async def predict(self, images: Images, outputs: tuple[str, ...] = ("logits",)) -> Rows:
        """These outputs of these `samples` images, computed together with whatever else waits for the same ones.

        Raises:
            PredictionFailed: the model raised, or its values are not finite.
            Abandoned: `give_up` was called before the model took the images.
        """
        if self._coming:
            self._withdraw()
            self._images, self._outputs, self._since = images, outputs, perf_counter()
            self._waiting = True
            self._batcher._waiting.append(self)
            self._batcher._waiting_samples += self.samples
        return await self._rows

    def give_up(self) -> None:
        """Nobody wants the rows any more: if the model has not taken the images, it never will."""
        if self._coming or self._waiting:
            self._withdraw()
            self._rows.set_exception(Abandoned())
            self._rows.exception()  # it may never be awaited

    def leave(self) -> None:
        """The request has ended: what it took is free."""
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
