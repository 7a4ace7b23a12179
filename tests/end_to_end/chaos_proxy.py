"""A TCP proxy that loses, delays, cuts, repeats and resets what passes through it, and counts what it did.

Every request that comes draws its fate from a seeded generator. A fate ends within seconds, so that nobody who asks
again waits for ever.
"""

import asyncio
import random
import socket
import struct
from collections import Counter
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from types import TracebackType
from typing import Any, Final, Self

from tests.endurance import HANG_SECONDS

FATES: Final = {
    "pass": 10,
    "drop": 2,
    "delay": 3,
    "truncate request": 3,
    "truncate answer": 3,
    "reset request": 2,
    "reset answer": 4,
    "duplicate": 3,
    "echo": 3,
    "black hole": 2,
}
"""Each with its weight.

    drop                the connection is closed, and the service hears nothing
    truncate request    the service gets a part of the request, and then the end of the connection
    truncate answer     the service answers, and the client gets a part of that
    reset ...           the same, but the client's connection is reset (RST)
    duplicate           the service gets the request twice at once, and the client one of the two answers
    echo                as it should be; and later the service gets the same request again
    black hole          the service may get the request; the client hears nothing for long
"""
_RESET: Final = struct.pack("ii", 1, 0)
_LONGEST_DELAY_SECONDS: Final = 0.6
_LONGEST_SILENCE_SECONDS: Final = 1.5
_LONGEST_ECHO_SECONDS: Final = 3.0


class _Cut(Exception):
    """The client's connection ends here."""


class ChaosProxy:
    """A context manager; it runs in a thread of its own, between the start and the end of the block."""

    def __init__(self, upstream_port: int, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        """Requests by fate, and: `resets` of the client's connection, and `replays`, answers that say that they were
        paid for before, of which the client got the whole."""
        self.calm = False
        """Whether everything passes."""
        self.problems: list[str] = []
        """What failed in here that should not."""
        self._upstream_port = upstream_port
        self._random = random.Random(seed)
        self._deck: list[str] = []
        """The next fates: each is there as often as its weight says, so that none depends on luck."""
        self._admitted: int | None = None
        """How many more requests pass before the others wait; None if all pass."""
        self._waiting = 0
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._port: Future[int] = Future()
        self._tasks: set[asyncio.Task[Any]] = set()
        """The loop itself holds its tasks weakly, and one that waits for what nobody else holds could be collected."""
        self._thread = Thread(target=self._loop.run_until_complete, args=(self._run(),), name="chaos")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port.result(HANG_SECONDS)}"

    @property
    def is_used_up(self) -> bool:
        """Whether as many requests as were admitted have come, and another one waits."""
        return self._admitted == 0 and self._waiting > 0

    def admit(self, requests: int) -> None:
        """Let so many requests pass; those that come after them wait for the next call."""
        asyncio.run_coroutine_threadsafe(self._set_admitted(requests), self._loop).result(HANG_SECONDS)

    def admit_all(self) -> None:
        """Let every request pass."""
        asyncio.run_coroutine_threadsafe(self._set_admitted(None), self._loop).result(HANG_SECONDS)

    async def _set_admitted(self, requests: int | None) -> None:
        self._admitted = requests
        self._changed.set()
        self._changed = asyncio.Event()

    async def _admission(self) -> None:
        self._waiting += 1
        try:
            while self._admitted == 0:
                await self._changed.wait()
        finally:
            self._waiting -= 1
        if self._admitted is not None:
            self._admitted -= 1

    def _fate(self) -> str:
        if self.calm:
            return "pass"
        if not self._deck:
            self._deck = [fate for fate, weight in FATES.items() for _ in range(weight)]
            self._random.shuffle(self._deck)
        return self._deck.pop()

    async def _run(self) -> None:
        self._ended = asyncio.Event()
        self._loop.set_exception_handler(lambda _, context: self.problems.append(str(context)))
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self._port.set_result(server.sockets[0].getsockname()[1])
            await self._ended.wait()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._keep(asyncio.current_task())
        try:
            while True:
                request = await _message(reader)
                await self._admission()
                fate = self._fate()
                self.counts[fate] += 1
                await self._give(await self._answer(fate, request, reader, writer), writer)
        except (OSError, EOFError, _Cut):
            pass
        finally:
            writer.close()

    async def _answer(
        self, fate: str, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        """What the client shall get whole, after which it may ask more."""
        match fate:
            case "drop":
                raise _Cut
            case "delay":
                await asyncio.sleep(self._random.uniform(0, _LONGEST_DELAY_SECONDS))
            case "truncate request" | "reset request":
                await self._send(self._part(request))
                raise self._end(fate, writer)
            case "truncate answer" | "reset answer":
                writer.write(self._part(await self._ask(request)))
                await writer.drain()
                raise self._end(fate, writer)
            case "duplicate":
                both = await asyncio.gather(self._ask(request), self._ask(request), return_exceptions=True)
                answer = self._random.choice(both)
                if isinstance(answer, BaseException):
                    raise answer
                return answer
            case "echo":
                self._keep(asyncio.create_task(self._echo(request)))
            case "black hole":
                if self._random.random() < 0.5:
                    await self._ask(request)
                await asyncio.sleep(self._random.uniform(0, _LONGEST_SILENCE_SECONDS))
                raise _Cut
        return await self._ask_while_awaited(request, reader)

    async def _ask_while_awaited(self, request: bytes, reader: asyncio.StreamReader) -> bytes:
        """Whether the service hears that the client is gone is a matter of chance."""
        asking = asyncio.create_task(self._ask(request))
        leaving = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait([asking, leaving], return_when=asyncio.FIRST_COMPLETED)
            if asking.done() or self._random.random() < 0.5:
                return await asking
            raise _Cut
        finally:
            for task in (asking, leaving):
                task.cancel()
            await asyncio.gather(asking, leaving, return_exceptions=True)

    def _keep(self, task: asyncio.Task[Any] | None) -> None:
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _echo(self, request: bytes) -> None:
        await asyncio.sleep(self._random.uniform(0, _LONGEST_ECHO_SECONDS))
        with suppress(OSError, EOFError):
            await self._ask(request)

    async def _ask(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        try:
            writer.write(request)
            return await _message(reader)
        finally:
            writer.close()

    async def _send(self, part: bytes) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        writer.write(part)
        await writer.drain()
        writer.close()

    async def _give(self, answer: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        self.counts["replays"] += b"\r\nidempotency-replayed: true" in answer.partition(b"\r\n\r\n")[0].lower()

    def _end(self, fate: str, writer: asyncio.StreamWriter) -> _Cut:
        if fate.startswith("reset"):
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.counts["resets"] += 1
        return _Cut()

    def _part(self, message: bytes) -> bytes:
        return message[: self._random.randrange(len(message))]


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One HTTP message, head and body; its length is in its head."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    return head + await reader.readexactly(int(fields.get(b"content-length", b"0")))
