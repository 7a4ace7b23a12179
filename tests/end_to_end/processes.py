"""Real processes that start fast: forked from a server that has imported torch once, killed with SIGKILL."""

import multiprocessing
import os
import random
import runpy
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.context import ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx

from teacher_service.database.engine import open_database
from teacher_service.keys.api_key import NewKey
from teacher_service.keys.store import KeyStore
from teacher_service.ledger.group_commit import GroupCommit
from teacher_service.policy.key_terms import KeyTerms
from tests.endurance import HANG_SECONDS

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "distill_worker.cli.command",
        *(
            f"distill_worker.cli.actions.{commands}"
            for commands in ("buying", "cache", "experiments", "training", "weights")
        ),
        "teacher_service.app",
        "sklearn.datasets",
        "httpx",
        "pytest",
        "torch._dynamo",
    ]
)


def start(
    module: str,
    arguments: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> ForkServerProcess:
    """Run `python -m module arguments...` in a new process, its output going to `log`; it ends with the tests.

    Its working directory is `folder`, or that of the server.

    Its environment is the present one, which need not be that of the server that forks it: an earlier test, whose
    students trained in processes, may have started that one.
    """
    whole = {**os.environ, **(environment or {})}
    process = _CONTEXT.Process(target=_run_module, args=(module, list(arguments), log, whole, folder), daemon=True)
    process.start()
    return process


def call(function: Callable[..., None], *arguments: Any, has_children: bool = False) -> ForkServerProcess:
    """Run a function in a new process, to its end. One that `has_children` does not end with the tests."""
    process = _CONTEXT.Process(target=function, args=arguments, daemon=not has_children)
    process.start()
    join(process)
    return process


def join(process: BaseProcess) -> None:
    """Wait until the process ends; a test fails whose process hangs."""
    process.join(HANG_SECONDS)
    assert process.exitcode is not None, f"process {process.pid} did not end within {HANG_SECONDS} s"


def kill(process: ForkServerProcess) -> None:
    """SIGKILL, and wait until the process is gone."""
    process.kill()
    join(process)


def free_port() -> int:
    """One that nobody has, below those of outgoing connections: none takes it while a killed service starts again."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


@cache
def http() -> httpx.Client:
    """Makes a connection for each request, so that none is left over from a process that was killed."""
    return httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), timeout=HANG_SECONDS, trust_env=False)


def _run_module(module: str, arguments: list[str], log: Path, environment: dict[str, str], folder: Path | None) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in the background it is ignored
    os.environ.clear()
    os.environ.update(environment)
    if folder is not None:
        os.chdir(folder)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__")


@dataclass
class RunningService:
    """A teacher service on one port and one ledger, which may be killed and started again."""

    weights: Path
    data_dir: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    database: Path | str | None = None
    """Where its ledger is, if not in its data directory: a SQLite file, or the URL of a PostgreSQL database."""
    module: str = "teacher_service"
    port: int = field(default_factory=free_port)
    process: ForkServerProcess | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """Its output."""
        return self.data_dir / "service.log"

    @property
    def ledger(self) -> Path | str:
        """Where its ledger is: a SQLite file, or the URL of a PostgreSQL database."""
        return self.database or self.data_dir / "ledger.sqlite"

    @property
    def pid(self) -> int:
        """Of the process, which was started."""
        assert self.process is not None
        assert self.process.pid is not None
        return self.process.pid

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start the process, and wait for nothing."""
        self.data_dir.mkdir(exist_ok=True)
        self.process = start(self.module, ["serve"], self.log, self._whole_environment())

    def wait_until_ready(self) -> None:
        """Wait until it says that it is ready."""
        assert self.process is not None
        deadline = time.monotonic() + HANG_SECONDS
        while not self.is_ready():
            if not self.process.is_alive() or time.monotonic() > deadline:
                raise AssertionError(f"the service did not start:\n{self.log.read_text()}")
            time.sleep(0.02)

    def is_ready(self) -> bool:
        """What `/v2/health/ready` says; False when nobody answers."""
        try:
            return http().get(f"{self.url}/v2/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """SIGKILL, if it was started."""
        if self.process is not None:
            kill(self.process)

    def create_key(self, name: str, quota: int, *, features: bool = False) -> str:
        """An API key, made by the command line as an operator would."""
        key_file = self.data_dir / f"{name}.key"
        arguments = ["keys", "create", "--name", name, "--quota", str(quota), "--key-file", str(key_file)]
        arguments += ["--features"] if features else []
        maker = start("teacher_service", arguments, self.log, self._whole_environment())
        join(maker)
        assert maker.exitcode == 0, self.log.read_text()
        return key_file.read_text().strip()

    def new_key(self, name: str, quota: int, **terms: Any) -> NewKey:
        """A key on these `KeyTerms`, made in the test's own process."""
        with self.keys() as keys:
            return keys.create(name, quota, terms=KeyTerms(**terms))

    @contextmanager
    def keys(self, clock: Callable[[], float] = time.time) -> Iterator[KeyStore]:
        """The keys in its ledger, as the test's own process sees and changes them."""
        engine = open_database(self.ledger)
        commits = GroupCommit(engine)
        try:
            yield KeyStore(engine, commits, clock)
        finally:
            commits.close()
            engine.dispose()

    def quota(self, api_key: str) -> dict[str, Any]:
        """What `GET /v1/quota` says."""
        answer = http().get(f"{self.url}/v1/quota", headers={"Authorization": f"Bearer {api_key}"})
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body

    def _whole_environment(self) -> dict[str, str]:
        place = {} if self.database is None else {"TEACHER_DATABASE_URL": ledger_url(self.database)}
        return {
            "TEACHER_WEIGHTS": str(self.weights),
            "TEACHER_DATA_DIR": str(self.data_dir),
            "TEACHER_PORT": str(self.port),
            **place,
            **self.environment,
        }


def ledger_url(place: Path | str) -> str:
    """A SQLite file, or the URL of a database, as a URL."""
    return place if isinstance(place, str) else f"sqlite:///{place}"
