"""One query from start to end: whatever the model, the ledger or the client does, its hold is settled or released."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Event

import numpy as np
import pytest

from shared.oip import Body
from teacher_service.errors.service_errors import (
    Abandoned,
    Draining,
    LedgerUnavailable,
    Overloaded,
    PredictionFailed,
    QuotaExceeded,
    RequestInProgress,
)
from teacher_service.inference.batcher import Images, MicroBatcher, Rows
from teacher_service.inference.query_runner import QueryRunner
from teacher_service.ledger.ledger import Ledger, Settled
from tests.teacher_service.ledger_file import WAIT_SECONDS, Books, Commits, open_books, query, writer_busy

_SAMPLES = 3
_IMAGES = np.arange(_SAMPLES, dtype=np.uint8).reshape(-1, 1, 1, 1)


class _Counter:
    """A `QueryRunner` on a real ledger, a model that a test can stop or break, and a key with a quota of 10 samples."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.key = books.key(10)
        self.passes = 0
        self.spent = 0
        self.error: Exception | None = None
        self.entered, self.free = Event(), Event()
        self.free.set()
        self.encoded = asyncio.Event()
        self.on_encode: Callable[[], None] = lambda: None
        self.batcher = MicroBatcher(
            self._predict, pass_size=8, batch_timeout_seconds=0, max_queued_samples=2 * _SAMPLES
        )
        self.query_runner = QueryRunner(Ledger(books.engine, books.commits, books.instance, books.clock), self.batcher)

    def ask(self, idempotency_key: str | None = "i") -> "asyncio.Task[Settled]":
        """A caller who waits for the answer to three images."""
        asked = query(self.key, _SAMPLES, idempotency_key=idempotency_key)

        async def settled() -> Settled:
            return (await self.query_runner.answer(asked, _IMAGES, self._encode)).settled

        return asyncio.create_task(settled())

    @contextmanager
    def model_held(self) -> Iterator[None]:
        """The model stands still."""
        self.free.clear()
        try:
            yield
        finally:
            self.free.set()

    @property
    def counts(self) -> tuple[int, int]:
        """Samples used and reserved."""
        return self.books.counts(self.key)

    def _predict(self, images: Images, _outputs: tuple[str, ...]) -> Rows:
        self.passes += 1
        self.entered.set()
        assert self.free.wait(WAIT_SECONDS)
        if self.error is not None:
            raise self.error
        return images.reshape(-1, 1).astype(np.float32)

    def _encode(self, logits: Rows) -> Body:
        self.on_encode()
        self.encoded.set()
        return Body(logits.tobytes(), 0)


def _run(books: Books, test: Callable[[_Counter], Awaitable[None]]) -> None:
    async def body() -> None:
        counter = _Counter(books)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await test(counter)
        finally:
            await counter.query_runner.drain()
            await counter.batcher.close()

    asyncio.run(body())


async def _wait(happened: Event) -> None:
    assert await asyncio.to_thread(happened.wait, WAIT_SECONDS)


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_answer_is_charged_once_and_replayed_free(books: Books) -> None:
    async def test(counter: _Counter) -> None:
        first, again = await counter.ask(), await counter.ask()
        assert (first.replayed, again.replayed) == (False, True)
        assert first.answer == again.answer == Body(np.array([0, 1, 2], np.float32).tobytes(), 0)
        assert first.quota == again.quota
        assert (counter.counts, counter.passes) == ((3, 0), 1)

    _run(books, test)


def test_samples_are_held_while_the_model_works(books: Books) -> None:
    async def test(counter: _Counter) -> None:
        with counter.model_held():
            task = counter.ask()
            await _wait(counter.entered)
            assert counter.counts == (0, 3)
            with pytest.raises(RequestInProgress):
                await counter.ask()
        await task
        assert counter.counts == (3, 0)

    _run(books, test)


async def _cancel_while_reserving(counter: _Counter) -> None:
    with writer_busy(counter.books.commits):
        task = counter.ask()
        await _turns(3)
        task.cancel()
        await _turns(3)


async def _cancel_while_predicting(counter: _Counter) -> None:
    with counter.model_held():
        task = counter.ask()
        await _wait(counter.entered)
        task.cancel()
        await _turns(3)


async def _cancel_while_settling(counter: _Counter) -> None:
    with ExitStack() as settling:
        with counter.model_held():
            task = counter.ask()
            await _wait(counter.entered)
            settling.enter_context(writer_busy(counter.books.commits))
        await counter.encoded.wait()
        assert counter.books.counts(counter.key) == (0, 3)
        task.cancel()
        await _turns(3)


async def _cancel_everyone_twice(counter: _Counter) -> None:
    with counter.model_held():
        task = counter.ask()
        await _wait(counter.entered)
        for _ in range(2):
            task.cancel()
            await _turns(2)


async def _cancel_while_queued(counter: _Counter) -> None:
    with counter.model_held():
        first = counter.ask("first")
        await _wait(counter.entered)
        with writer_busy(counter.books.commits):
            task = counter.ask()
            await _turns(3)
        await asyncio.to_thread(counter.books.commits.submit(lambda _: None).result, WAIT_SECONDS)  # it is admitted
        await _turns(3)
        task.cancel()
        await _turns(3)
    await first
    counter.spent = 3


@pytest.mark.parametrize("cancel", [_cancel_while_reserving, _cancel_while_queued])
def test_query_whose_caller_hangs_up_before_the_model_takes_it_costs_nothing(
    books: Books, cancel: Callable[[_Counter], Awaitable[None]]
) -> None:
    async def test(counter: _Counter) -> None:
        await cancel(counter)
        await counter.query_runner.drain()
        assert (counter.counts, counter.passes) == ((counter.spent, 0), counter.spent // 3)
        again = await counter.ask()
        assert (again.replayed, again.answer.content) == (False, np.array([0, 1, 2], np.float32).tobytes())
        assert counter.counts == (counter.spent + 3, 0)

    _run(books, test)


@pytest.mark.parametrize("cancel", [_cancel_while_predicting, _cancel_while_settling, _cancel_everyone_twice])
def test_query_whose_caller_hangs_up_later_is_finished_charged_once_and_replayable(
    books: Books, cancel: Callable[[_Counter], Awaitable[None]]
) -> None:
    async def test(counter: _Counter) -> None:
        await cancel(counter)
        await counter.query_runner.drain()
        assert (counter.counts, counter.passes) == ((3, 0), 1)
        replay = await counter.ask()
        assert (replay.replayed, replay.answer.content) == (True, np.array([0, 1, 2], np.float32).tobytes())
        assert (counter.counts, counter.passes) == ((3, 0), 1)

    _run(books, test)


@pytest.mark.parametrize("turns", range(12))
def test_hanging_up_after_any_number_of_turns_loses_no_reservation(books: Books, turns: int) -> None:
    """Wherever the query is after that many turns of the loop, it is charged exactly when the model saw it."""

    async def test(counter: _Counter) -> None:
        task = counter.ask()
        await _turns(turns)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await counter.query_runner.drain()
        assert counter.counts == (3 * counter.passes, 0)
        await counter.ask()
        assert (counter.counts, counter.passes) == ((3, 0), 1)

    _run(books, test)


@pytest.mark.parametrize("when", ["queued", "computing"])
def test_client_that_is_gone_gives_its_query_up_unless_the_model_has_it(books: Books, when: str) -> None:
    async def test(counter: _Counter) -> None:
        gone = asyncio.Event()
        asked = query(counter.key, _SAMPLES, idempotency_key="i")
        with counter.model_held():
            first = None
            if when == "queued":
                first = counter.ask("first")
                await _wait(counter.entered)
            task = asyncio.create_task(counter.query_runner.answer(asked, _IMAGES, bytes_of, disconnected=gone.wait))
            await _wait(counter.entered)
            gone.set()
            if when == "queued":
                await asyncio.wait([task])
            else:
                await asyncio.sleep(0.1)  # its client is watched only when the answer takes its time
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        assert isinstance(outcome, Abandoned) == (when == "queued")
        if first is not None:
            await first
        await counter.query_runner.drain()
        assert (counter.counts, counter.passes) == ((3, 0), 1)

    def bytes_of(logits: Rows) -> Body:
        return Body(logits.tobytes(), 0)

    _run(books, test)


def test_query_runner_admits_nothing_while_it_drains(books: Books) -> None:
    async def test(counter: _Counter) -> None:
        with counter.model_held():
            task = counter.ask()
            await _wait(counter.entered)
            counter.query_runner.stop_admitting()
            with pytest.raises(Draining):
                await counter.ask("other")
            assert not counter.query_runner.is_idle
        assert not (await task).replayed
        await _turns(3)
        assert counter.query_runner.is_idle
        assert counter.counts == (3, 0)

    _run(books, test)


def test_hanging_up_on_a_query_that_fails_gives_everything_back(books: Books) -> None:
    async def test(counter: _Counter) -> None:
        counter.error = RuntimeError("a kernel failed")
        with counter.model_held():
            task = counter.ask()
            await _wait(counter.entered)
            task.cancel()
            await _turns(2)
        await counter.query_runner.drain()
        assert counter.counts == (0, 0)

    _run(books, test)


def test_model_failure_releases_and_frees_the_idempotency_key(books: Books) -> None:
    async def test(counter: _Counter) -> None:
        counter.error = RuntimeError("a kernel failed")
        with pytest.raises(PredictionFailed):
            await counter.ask()
        assert counter.counts == (0, 0)
        counter.error = None
        assert not (await counter.ask()).replayed
        assert (counter.counts, counter.passes) == ((3, 0), 2)

    _run(books, test)


def test_answer_that_cannot_be_encoded_releases(books: Books) -> None:
    async def test(counter: _Counter) -> None:
        def fail() -> None:
            raise ValueError("no such dtype")

        counter.on_encode = fail
        with pytest.raises(ValueError, match="no such dtype"):
            await counter.ask()
        assert counter.counts == (0, 0)

    _run(books, test)


def test_refusal_never_reaches_the_model(books: Books) -> None:
    async def test(counter: _Counter) -> None:
        for index in range(3):
            await counter.ask(f"i{index}")
        with pytest.raises(QuotaExceeded):
            await counter.ask("i3")
        assert (counter.counts, counter.passes) == ((9, 0), 3)

    _run(books, test)


def test_full_queue_is_refused_before_anything_is_held(books: Books) -> None:
    async def test(counter: _Counter) -> None:
        with counter.model_held():
            admitted = [counter.ask(None), counter.ask(None)]
            await _wait(counter.entered)
            with pytest.raises(Overloaded):
                await counter.ask(None)
        await asyncio.gather(*admitted)
        assert counter.counts == (6, 0)
        await counter.ask(None)
        assert counter.counts == (9, 0)

    _run(books, test)


def test_failure_to_settle_releases(books: Books) -> None:
    """The charge cannot be written: the caller is told so, keeps the samples, and may ask again."""

    async def test(counter: _Counter) -> None:
        commits = Commits(counter.books.engine)

        def fill_the_disk() -> None:
            commits.failing = 1

        counter.on_encode = fill_the_disk
        with pytest.raises(LedgerUnavailable):
            await counter.ask()
        assert counter.counts == (0, 0)
        counter.on_encode = lambda: None
        assert not (await counter.ask()).replayed
        assert counter.counts == (3, 0)

    _run(books, test)


def test_charge_whose_acknowledgement_is_lost_is_answered_and_made_once(books: Books) -> None:
    """With and without an Idempotency-Key, the caller gets what was charged."""

    async def test(counter: _Counter) -> None:
        commits = Commits(counter.books.engine)

        def cut_the_connection() -> None:
            commits.unacknowledged = 1

        counter.on_encode = cut_the_connection
        assert not (await counter.ask(None)).replayed
        assert not (await counter.ask("i")).replayed
        assert counter.counts == (6, 0)
        counter.on_encode = lambda: None
        assert (await counter.ask("i")).replayed
        assert (counter.counts, counter.passes) == ((6, 0), 2)

    _run(books, test)


def test_charge_that_stays_unknown_is_called_so_and_can_be_replayed(books: Books) -> None:
    """The ledger is down after the commit that charged: no one may say that nothing was charged."""

    async def test(counter: _Counter) -> None:
        commits = Commits(counter.books.engine)

        def stay_down() -> None:
            commits.unacknowledged = 1
            commits.on_success = lambda: setattr(commits, "failing", 1)  # the release after it

        counter.on_encode = stay_down
        with pytest.raises(LedgerUnavailable, match="unknown"):
            await counter.ask("i")
        commits.on_success = lambda: None
        counter.on_encode = lambda: None
        assert (await counter.ask("i")).replayed
        assert counter.counts == (3, 0)

    _run(books, test)


def test_hold_whose_acknowledgement_is_lost_does_not_block_a_repetition(books: Books) -> None:
    async def test(counter: _Counter) -> None:
        Commits(counter.books.engine).unacknowledged = 1
        with pytest.raises(LedgerUnavailable, match="nothing was admitted"):
            await counter.ask("i")
        assert counter.counts == (0, 3)
        assert not (await counter.ask("i")).replayed
        assert counter.counts == (3, 0)

    _run(books, test)


def test_release_is_done_later_when_the_ledger_is_down(books: Books) -> None:
    """Neither the charge nor the release can be written: the hold stays until the ledger is back, and no longer."""

    async def test(counter: _Counter) -> None:
        commits = Commits(counter.books.engine)
        released = Event()

        def fill_the_disk() -> None:
            commits.failing = 3  # the charge, the release, and its first repetition
            commits.on_success = released.set

        counter.on_encode = fill_the_disk
        with pytest.raises(LedgerUnavailable):
            await counter.ask()
        assert counter.counts == (0, 3)
        await _wait(released)
        books.commits.submit(lambda _: None).result(WAIT_SECONDS)
        assert counter.counts == (0, 0)

    _run(books, test)


def test_draining_does_not_wait_for_a_ledger_that_stays_down(books: Books) -> None:
    """The hold is left to the next start, which releases it."""

    async def test(counter: _Counter) -> None:
        commits = Commits(counter.books.engine)

        def fill_the_disk() -> None:
            commits.failing = 1000

        counter.on_encode = fill_the_disk
        with pytest.raises(LedgerUnavailable):
            await counter.ask()
        await asyncio.wait_for(counter.query_runner.drain(), WAIT_SECONDS / 2)
        commits.failing = 0
        assert counter.counts == (0, 3)

    with open_books(books.path) as dying:
        _run(dying, test)
    assert books.ledger.recover() == 3


def test_draining_finishes_every_admitted_query(books: Books) -> None:
    async def test(counter: _Counter) -> None:
        with counter.model_held():
            tasks = [counter.ask("a"), counter.ask("b")]
            await _wait(counter.entered)
            drained = asyncio.create_task(counter.query_runner.drain())
            await _turns(5)
            assert not drained.done()
        await drained
        assert [(await task).replayed for task in tasks] == [False, False]
        assert counter.counts == (6, 0)

    _run(books, test)
