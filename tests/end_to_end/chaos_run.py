"""A worker, a service and the chaos between them, killed at random and started again, round after round."""

import random
import socket
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final

import numpy as np

from tests.end_to_end.asking import wait_until
from tests.end_to_end.chaos_proxy import ChaosProxy
from tests.end_to_end.processes import RunningService, join, kill, start

REQUESTS_A_ROUND: Final = 19
"""At most."""
_VICTIMS: Final = {(): 2, ("worker",): 3, ("service",): 3, ("worker", "service"): 2}
"""Who may be killed at the end of a round, and in how many of ten rounds."""
_BELOW_EPHEMERAL: Final = range(20_000, 32_000)

_CONFIG: Final = """
[data]
name = "npz"
path = "{data}"
[teacher]
url = "{url}"
expect_agreement = false
request_size = 2
concurrency = 8
timeout_seconds = 1
give_up_after_seconds = 600
[budget]
n = {n}
[student]
network = "resnet8"
[method]
name = "ckd"
[output]
cache = "{cache}"
"""


def write_run(folder: Path, *, url: str, n: int) -> Path:
    """The configuration of a run that buys the logits of `n` distinct images, which it writes too."""
    images = np.random.default_rng(0).integers(0, 256, (n + 10, 1, 8, 8), dtype=np.uint8)
    labels = np.arange(n + 10) % 10
    data, config = folder / "data.npz", folder / "run.toml"
    np.savez(data, train_images=images[10:], train_labels=labels[10:], test_images=images[:10], test_labels=labels[:10])
    config.write_text(_CONFIG.format(data=data, url=url, n=n, cache=folder / "cache.sqlite"))
    return config


def steady_port() -> int:
    """A free port that no outgoing connection is given while the service that listens there is dead."""
    for port in random.sample(_BELOW_EPHEMERAL, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


@dataclass
class ChaosRun:
    """Both processes; the worker runs `distill-worker fetch`, and its output is in `log`."""

    service: RunningService
    proxy: ChaosProxy
    config: Path
    api_key: str
    log: Path
    moments: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    exits: Counter[int | None] = field(default_factory=Counter)
    """Of workers that ended by themselves, by exit status."""
    worker: ForkServerProcess | None = None
    _deck: list[tuple[str, ...]] = field(default_factory=list)

    def round(self) -> None:
        """Start what does not run; after some requests kill one process, both or none."""
        if self.service.process is None or not self.service.process.is_alive():
            self.service.launch()
            if self.moments.random() < 0.5:  # else the first requests come before it listens
                self.service.wait_until_ready()
        worker = self._worker()
        self.proxy.admit(self.moments.randint(1, REQUESTS_A_ROUND))
        wait_until(lambda: self.proxy.is_used_up or worker.exitcode is not None)
        if worker.exitcode is not None:
            self.exits[worker.exitcode] += 1
            self.worker = None
        for victim in self._victims():
            if victim == "service":
                self.service.kill()
            elif worker.exitcode is None:
                kill(worker)
                self.worker = None
            else:
                continue
            self.kills[victim] += 1

    def _victims(self) -> tuple[str, ...]:
        if not self._deck:
            self._deck = [victims for victims, weight in _VICTIMS.items() for _ in range(weight)]
            self.moments.shuffle(self._deck)
        return self._deck.pop()

    def end(self) -> int | None:
        """No more chaos: the exit status of a last worker, once both were killed and started again."""
        if self.worker is not None:
            kill(self.worker)
            self.worker = None
        self.service.kill()
        self.proxy.calm = True
        self.proxy.admit_all()
        self.service.start()
        last = self._worker("--set", "teacher.timeout_seconds=600")
        join(last)
        return last.exitcode

    def _worker(self, *options: str) -> ForkServerProcess:
        if self.worker is None:
            environment = {"TEACHER_API_KEY": self.api_key}
            arguments = ["fetch", str(self.config), *options]
            self.worker = start("distill_worker", arguments, self.log, environment)
        return self.worker
