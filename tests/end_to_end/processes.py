"""Real processes that start fast: forked from a server that has imported torch once, killed with SIGKILL."""

import multiprocessing
import os
import runpy
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import httpx

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["distill_worker.cli", "teacher_service.app", "sklearn.datasets", "httpx", "pytest", "torch._dynamo"]
)
_START_SECONDS = 60


def start(
    module: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> ForkServerProcess:
    """Run `python -m module arguments...` in a new process, its output going to `log`."""
    process = _CONTEXT.Process(target=_run_module, args=(module, list(arguments), log, dict(environment or {})))
    process.start()
    return process


def call(function: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """Run a function in a new process, to its end."""
    process = _CONTEXT.Process(target=function, args=arguments)
    process.start()
    process.join()
    return process


def kill(process: ForkServerProcess) -> None:
    """SIGKILL, and wait until the process is gone."""
    process.kill()
    process.join()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run_module(module: str, arguments: list[str], log: Path, environment: dict[str, str]) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__")


@dataclass
class RunningService:
    """A teacher service on one port and one data directory, which may be killed and started again."""

    weights: Path
    data_dir: Path
    environment: Mapping[str, str] = field(default_factory=dict)
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

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        self.data_dir.mkdir(exist_ok=True)
        arguments = [
            "serve",
            "--weights",
            str(self.weights),
            "--data-dir",
            str(self.data_dir),
            "--port",
            str(self.port),
        ]
        self.process = start("teacher_service", arguments, self.log, self.environment)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                if httpx.get(f"{self.url}/v2/health/ready", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if not self.process.is_alive() or time.monotonic() > deadline:
                raise AssertionError(f"the service did not start:\n{self.log.read_text()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, if it was started."""
        if self.process is not None:
            kill(self.process)

    def create_key(self, name: str, quota: int, *, features: bool = False) -> str:
        """An API key, made by the command line as an operator would."""
        key_file = self.data_dir / f"{name}.key"
        arguments = ["keys", "create", "--name", name, "--quota", str(quota), "--key-file", str(key_file)]
        arguments += ["--features"] if features else []
        maker = start("teacher_service", [*arguments, "--data-dir", str(self.data_dir)], self.log, self.environment)
        maker.join()
        assert maker.exitcode == 0, self.log.read_text()
        return key_file.read_text().strip()

    def quota(self, api_key: str) -> dict[str, int]:
        """What `GET /v1/quota` says."""
        answer = httpx.get(f"{self.url}/v1/quota", headers={"Authorization": f"Bearer {api_key}"}, timeout=30)
        answer.raise_for_status()
        body: dict[str, int] = answer.json()
        return body
