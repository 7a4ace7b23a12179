"""Micro-batches: every request gets its own rows, in order, or an error; none waits for ever."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from threading import Event, current_thread

import numpy as np
import pytest

from teacher_service.errors.service_errors import Abandoned, Overloaded, PredictionFailed
from teacher_service.inference.batcher import Images, MicroBatcher, QueueSlot, Rows
from tests.teacher_service.ledger_file import WAIT_SECONDS


class _Model:
    """Says of each image its first pixel; notes its passes, and stands still while it is held."""

    def __init__(self) -> None:
        self.passes: list[list[int]] = []
        self.entered, self.free = Event(), Event()
        self.free.set()

    def __call__(self, images: Images, outputs: tuple[str, ...] = ("logits",)) -> Rows:
        self.passes.append([int(image.flat[0]) for image in images])
        self.entered.set()
        assert self.free.wait(WAIT_SECONDS)
        if 13 in self.passes[-1]:
            raise RuntimeError("a kernel failed")
        logits = images.reshape(len(images), -1)[:, :1].astype(np.float32)
        logits[logits == 99] = np.nan
        return np.repeat(logits, len(outputs), axis=1)


def _images(*pixels: int) -> Images:
    return np.array(pixels, np.uint8).reshape(-1, 1, 1, 1)


@contextmanager
def _admitted(batcher: MicroBatcher, samples: int) -> Iterator[QueueSlot]:
    slot = batcher.admit(samples)
    try:
        yield slot
    finally:
        slot.leave()


def _run(
    test: Callable[[MicroBatcher], Awaitable[None]],
    model: Callable[[Images, tuple[str, ...]], Rows],
    pass_size: int = 4,
    batch_timeout_seconds: float = 0.0,
    max_queued_samples: int = 100,
) -> None:
    async def body() -> None:
        batcher = MicroBatcher(
            model,
            pass_size=pass_size,
            batch_timeout_seconds=batch_timeout_seconds,
            max_queued_samples=max_queued_samples,
        )
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await test(batcher)
        finally:
            await batcher.close()

    asyncio.run(body())


async def _predict(batcher: MicroBatcher, images: Images, outputs: tuple[str, ...] = ("logits",)) -> Rows:
    with _admitted(batcher, len(images)) as place:
        return await place.predict(images, outputs)


async def _gather_behind_a_pass(
    model: _Model, batcher: MicroBatcher, *waiting: Images
) -> tuple[list["asyncio.Task[Rows]"], "asyncio.Task[Rows]"]:
    """While the model works on a first request, the others gather."""
    model.free.clear()
    first = asyncio.create_task(_predict(batcher, _images(1)))
    await asyncio.to_thread(model.entered.wait, WAIT_SECONDS)
    tasks = [asyncio.create_task(_predict(batcher, images)) for images in waiting]
    await asyncio.sleep(0)  # each task runs until it waits
    return tasks, first


def test_every_request_gets_its_own_rows_in_order() -> None:
    model = _Model()

    async def test(batcher: MicroBatcher) -> None:
        requests = [list(range(20 + 3 * index, 21 + 3 * index + index % 3)) for index in range(20)]
        answers = await asyncio.gather(*(_predict(batcher, _images(*pixels)) for pixels in requests))
        assert [[int(row[0]) for row in rows] for rows in answers] == requests

    _run(test, model)
    assert max(map(len, model.passes)) <= 4


def test_requests_that_gather_while_the_model_works_share_the_next_pass() -> None:
    """In order of arrival, as many as fit; a request is never split."""
    model = _Model()

    async def test(batcher: MicroBatcher) -> None:
        tasks, first = await _gather_behind_a_pass(
            model, batcher, _images(2, 3), _images(4), _images(5, 6), _images(7, 8, 9)
        )
        model.free.set()
        await asyncio.gather(first, *tasks)

    _run(test, model)
    assert model.passes == [[1], [2, 3, 4], [5, 6], [7, 8, 9]]


def test_request_larger_than_a_pass_runs_alone_in_several() -> None:
    model = _Model()

    async def test(batcher: MicroBatcher) -> None:
        tasks, first = await _gather_behind_a_pass(model, batcher, _images(2, 3, 4, 5, 6, 7), _images(8))
        model.free.set()
        assert (await tasks[0]).tolist() == [[2.0], [3.0], [4.0], [5.0], [6.0], [7.0]]
        await asyncio.gather(first, *tasks)

    _run(test, model)
    assert model.passes == [[1], [2, 3, 4, 5], [6, 7], [8]]


def test_request_in_several_passes_fails_as_one() -> None:
    """The model fails on the second of them; the next request is not touched."""
    model = _Model()

    async def test(batcher: MicroBatcher) -> None:
        with pytest.raises(PredictionFailed):
            await _predict(batcher, _images(1, 2, 3, 4, 13))
        assert (await _predict(batcher, _images(5))).tolist() == [[5.0]]

    _run(test, model)


def test_idle_model_waits_for_those_on_the_way_until_its_batch_is_full() -> None:
    """With an hour of patience, only the last of four that were admitted can start it."""
    model = _Model()

    async def test(batcher: MicroBatcher) -> None:
        places = [batcher.admit(1) for _ in range(5)]
        tasks = []
        for pixel, place in enumerate(places[:4], 1):
            assert model.passes == []
            tasks.append(asyncio.create_task(place.predict(_images(pixel))))
            await asyncio.sleep(0.01)
        await asyncio.gather(*tasks)

    _run(test, model, batch_timeout_seconds=3600)
    assert model.passes == [[1, 2, 3, 4]]


@pytest.mark.parametrize("end", ["leave", "abandon"])
def test_idle_model_starts_when_those_on_the_way_will_not_come(end: str) -> None:
    model = _Model()

    async def test(batcher: MicroBatcher) -> None:
        place, refused = batcher.admit(1), batcher.admit(1)
        task = asyncio.create_task(place.predict(_images(5)))
        await asyncio.sleep(0.01)
        assert model.passes == []
        getattr(refused, end)()
        assert (await task).tolist() == [[5.0]]

    _run(test, model, batch_timeout_seconds=3600)


def test_lone_request_starts_at_once() -> None:
    """Nobody is on the way, so there is nobody to wait for."""
    model = _Model()

    async def test(batcher: MicroBatcher) -> None:
        assert (await _predict(batcher, _images(5))).tolist() == [[5.0]]

    _run(test, model, batch_timeout_seconds=3600)


def test_patience_ends_though_somebody_is_on_the_way() -> None:
    model = _Model()

    async def test(batcher: MicroBatcher) -> None:
        batcher.admit(1)
        assert (await _predict(batcher, _images(5))).tolist() == [[5.0]]

    _run(test, model, batch_timeout_seconds=0.01)


def test_images_that_were_given_up_are_not_computed() -> None:
    """Unless the model had them already."""
    model = _Model()

    async def test(batcher: MicroBatcher) -> None:
        taken, waiting, kept = (batcher.admit(1) for _ in range(3))
        model.free.clear()
        first = asyncio.create_task(taken.predict(_images(1)))
        await asyncio.to_thread(model.entered.wait, WAIT_SECONDS)
        others = [asyncio.create_task(place.predict(_images(pixel))) for pixel, place in ((2, waiting), (3, kept))]
        await asyncio.sleep(0)
        taken.abandon()
        waiting.abandon()
        model.free.set()
        assert (await first).tolist() == [[1.0]]
        with pytest.raises(Abandoned):
            await others[0]
        assert (await others[1]).tolist() == [[3.0]]

    _run(test, model)
    assert model.passes == [[1], [3]]


def test_warming_up_runs_the_smallest_and_the_largest_pass_in_the_models_own_thread() -> None:
    model = _Model()
    threads: list[str] = []

    async def test(batcher: MicroBatcher) -> None:
        await batcher.warm_up((1, 1, 1))

    def noting(images: Images, outputs: tuple[str, ...]) -> Rows:
        threads.append(current_thread().name)
        return model(images, outputs)

    _run(test, noting)
    assert model.passes == [[0], [0, 0, 0, 0]]
    assert set(threads) == {"model_0"}


def test_model_that_raises_fails_its_whole_batch_and_nobody_else() -> None:
    model = _Model()

    async def test(batcher: MicroBatcher) -> None:
        tasks, first = await _gather_behind_a_pass(model, batcher, _images(2), _images(13), _images(4), _images(5, 6))
        model.free.set()
        assert (await first).tolist() == [[1.0]]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes[:3]] == [PredictionFailed] * 3
        assert isinstance(outcomes[3], np.ndarray)
        assert (await _predict(batcher, _images(7))).tolist() == [[7.0]]

    _run(test, model)


def test_values_that_are_not_finite_fail_only_the_request_they_belong_to() -> None:
    model = _Model()

    async def test(batcher: MicroBatcher) -> None:
        tasks, first = await _gather_behind_a_pass(model, batcher, _images(2), _images(3, 99))
        model.free.set()
        await first
        assert (await tasks[0]).tolist() == [[2.0]]
        with pytest.raises(PredictionFailed, match="not finite"):
            await tasks[1]

    _run(test, model)
    assert model.passes == [[1], [2, 3, 99]]


@pytest.mark.parametrize("spoil", [lambda logits: logits[:-1], lambda logits: logits[:0], lambda _: None])
def test_model_that_gives_no_row_for_an_image_fails_the_request(spoil: Callable[[Rows], Rows]) -> None:
    """Its own rows or an error: a short answer would be charged in full, and waiting for one would never end."""
    model = _Model()

    async def test(batcher: MicroBatcher) -> None:
        with pytest.raises(PredictionFailed):
            await asyncio.wait_for(_predict(batcher, _images(1, 2)), 2)

    _run(test, lambda images, _: spoil(model(images)))


def test_cancelled_request_does_not_disturb_its_neighbours() -> None:
    model = _Model()

    async def test(batcher: MicroBatcher) -> None:
        tasks, first = await _gather_behind_a_pass(model, batcher, _images(2), _images(3), _images(4))
        tasks[1].cancel()
        first.cancel()
        await asyncio.sleep(0)
        model.free.set()
        assert [(await tasks[0]).tolist(), (await tasks[2]).tolist()] == [[[2.0]], [[4.0]]]

    _run(test, model)


def test_admission_is_rejected_when_the_queue_is_full_and_freed_on_leaving() -> None:
    """Whatever happens inside: 8 samples fit, and a rejected request takes no slot."""

    async def test(batcher: MicroBatcher) -> None:
        with _admitted(batcher, 5):
            with pytest.raises(Overloaded) as refused, _admitted(batcher, 4):
                pass
            assert refused.value.headers() == {"Retry-After": "1"}
            with _admitted(batcher, 3):
                pass
        with pytest.raises(ZeroDivisionError), _admitted(batcher, 8):
            _ = 1 // 0
        with _admitted(batcher, 8):
            pass

    _run(test, _Model(), max_queued_samples=8)


def test_requests_that_want_other_outputs_do_not_share_a_pass() -> None:
    """Each gets rows of what it asked for; the order of arrival is kept."""
    model = _Model()

    async def test(batcher: MicroBatcher) -> None:
        model.free.clear()
        first = asyncio.create_task(_predict(batcher, _images(1)))
        await asyncio.to_thread(model.entered.wait, WAIT_SECONDS)
        wanted = [("logits",), ("logits", "features.a"), ("logits", "features.a"), ("logits",)]
        tasks = [
            asyncio.create_task(_predict(batcher, _images(2 + index), outputs)) for index, outputs in enumerate(wanted)
        ]
        await asyncio.sleep(0)
        model.free.set()
        await first
        assert [(await task).tolist() for task in tasks] == [[[2.0]], [[3.0, 3.0]], [[4.0, 4.0]], [[5.0]]]

    _run(test, model)
    assert model.passes == [[1], [2], [3, 4], [5]]
