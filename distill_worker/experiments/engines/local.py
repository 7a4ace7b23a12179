"""The engine of this machine: worker processes that are forked from a server with torch imported once.

The server starts no thread before it forks. A worker trains one student after another. It leaves interrupts to the
parent, and ends when the parent ends, for any reason. It does not run the script of the parent.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Final

import torch

from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError, RunError
from distill_worker.experiments.engines import training
from distill_worker.experiments.engines.tasks import RETRIES, Outcome, Task

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_PRELOADED: Final = [training.__name__, "torch._dynamo"]
"""What the server imports. An optimiser imports the second at its first step, which takes as long as torch itself."""


class LocalProcesses:
    """Trains `slots` students at the same time, each in a process of its own. The GPUs are dealt in turn."""

    def __init__(self, slots: int, note: Callable[[str], None], *, gpus: int = 0) -> None:
        self.slots = slots
        self._note = note
        self._gpus = gpus
        _CONTEXT.set_forkserver_preload(_PRELOADED)

    def check(self, config: RunConfig) -> None:  # noqa: ARG002 the signature of every engine
        """Start the server of workers, which imports while this process buys. Raises `ConfigError`."""
        try:
            forkserver.ensure_running()
        except OSError as error:
            raise ConfigError(
                f"expected to start processes that train students, got none ({error}); free some memory, and set "
                "TMPDIR to a folder that you may write, with a path of less than 70 characters. Nothing was spent"
            ) from error

    def outcomes(self, tasks: Sequence[Task], inputs: Path) -> Generator[tuple[int, Outcome]]:
        """See `Engine.outcomes`."""
        waiting, deaths = deque(range(len(tasks))), Counter[int]()
        workers: dict[Connection, _Worker] = {}

        def train_next(worker: _Worker) -> None:
            if waiting:
                workers[worker.connection] = worker
                worker.train(waiting.popleft(), tasks)
            else:
                workers.pop(worker.connection).end()

        try:
            for slot in range(min(self.slots, len(tasks))):
                train_next(_Worker.started(inputs, slot % self._gpus if self._gpus else None))
            while workers:
                for connection in wait(list(workers)):
                    worker = workers[connection]  # type: ignore[index]
                    reply = worker.reply()
                    if reply is None:
                        del workers[worker.connection]
                        deaths[worker.task] += 1
                        self._note(_death(tasks[worker.task], worker.process, deaths[worker.task]))
                        waiting.appendleft(worker.task)
                        train_next(_Worker.started(inputs, worker.gpu))
                    else:
                        outcome, task = training.outcome_of(reply), worker.task
                        train_next(worker)
                        yield task, outcome
        finally:
            for worker in workers.values():
                worker.kill()


@dataclass
class _Worker:
    gpu: int | None
    process: ForkServerProcess
    connection: Connection
    task: int = -1
    """The position of the task in training."""

    @classmethod
    def started(cls, inputs: Path, gpu: int | None) -> "_Worker":
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=_work, args=(theirs, inputs, gpu))
        try:
            with _no_script():
                process.start()
        except (OSError, EOFError) as error:  # the server of workers may have been killed, too
            raise RunError(
                f"expected to start a process that trains students, got none ({error}); this machine may lack memory "
                "or processes, see compare.jobs. The same command resumes, and what was bought is in the cache"
            ) from error
        theirs.close()  # so that the death of the worker ends the connection
        return cls(gpu, process, ours)

    def train(self, task: int, tasks: Sequence[Task]) -> None:
        self.task = task
        with suppress(OSError):  # it died: its reply is None
            self.connection.send(tasks[task])

    def reply(self) -> training.Reply | None:
        """The reply to the task; None if the worker died."""
        try:
            reply: training.Reply = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            self.connection.close()
            return None
        return reply

    def end(self) -> None:
        """Let the worker end: it has no task."""
        self.connection.close()

    def kill(self) -> None:
        """Kill the worker, and wait until its run directory is free."""
        self.process.kill()
        while self.reply() is not None:
            pass


@contextmanager
def _no_script() -> Iterator[None]:
    """Let a process that is started not import the main script, which may run a comparison itself, or be no file."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _work(connection: Connection, inputs: Path, gpu: int | None) -> None:
    _follow_the_parent()
    if gpu is not None:
        torch.cuda.set_device(gpu)
    with suppress(EOFError, OSError):  # the parent has no more tasks
        while True:
            connection.send(training.reply_of(connection.recv(), inputs))


def _death(task: Task, process: BaseProcess, deaths: int) -> str:
    """The note on the death of a worker. Raises `RunError` if its task may not be done again."""
    code = process.exitcode or 0
    ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
    cause = "; this machine may lack memory for so many students, see compare.jobs" if code == -signal.SIGKILL else ""
    if deaths > RETRIES:
        raise RunError(
            f"{task.label}: expected a worker that trains to the end, got {deaths} that did not; the last one {ended}"
            f"{cause}. The same command resumes from the last checkpoint, and what was bought is in the cache"
        )
    return f"{task.label}: its worker {ended}; another one resumes from the last checkpoint{cause}"


def _follow_the_parent() -> None:
    """Leave interrupts to the parent process, and end when it ends, for any reason."""
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to its children too
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
