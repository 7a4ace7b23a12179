"""The engine of many machines: Ray (extra `ray`), on a cluster that it joins, or on one of this machine.

A task asks for its threads and its share of a GPU, and Ray does it again if its worker dies. Workers need this package;
they need neither the teacher nor the cache.
"""

import logging
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from textwrap import shorten
from typing import Any, Final

import numpy as np

from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError, RunError
from distill_worker.experiments.engines.elsewhere import Files, files_of, folder_of, put_back, train_elsewhere
from distill_worker.experiments.engines.tasks import RETRIES, Outcome, Task
from distill_worker.experiments.engines.training import Reply, outcome_of, reply_of
from distill_worker.runs.self_training.assistant.outside_weights import fingerprint
from distill_worker.training.network.first_weights import digest_of
from shared.networks import runs_code, source_digest

_CHECK_SECONDS: Final = 300.0
"""How long a machine of the cluster may take to start a worker."""
_CLEAN_SECONDS: Final = 10.0
_LIMITED_RETRIES: Final = {"RAY_task_oom_retries": str(RETRIES)}
"""Ray would do a task again for ever whose workers it ends because the memory is full."""


@contextmanager
def joined_or_started(address: str | None, *, threads: int, gpus: float, jobs: int | None) -> Iterator["RayCluster"]:
    """A Ray cluster, while the context is open: the one at `address`, or else one of this machine.

    Args:
        address: as Ray takes it, such as `auto` or `ray://host:10001`.
        threads: CPU cores of a task.
        gpus: GPUs of a task, which may be a fraction.
        jobs: the most students in training at the same time; needed without an address.

    Raises:
        ConfigError: Ray is not installed, or the cluster cannot be used.
    """
    ray = _ray()
    own = {"num_cpus": (jobs or 1) * threads, "include_dashboard": False}
    with redirect_stdout(sys.stderr):  # Ray prints the deaths of workers to standard output, where results go
        with _environment(_LIMITED_RETRIES | ({} if address else _settings_of_own_cluster())), _signal_handlers():
            try:
                ray.init(
                    address=address or "local",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **({} if address else own),
                )
            except Exception as error:  # Ray raises this very class, among others, if a node takes too long to start
                raise ConfigError(
                    f"compare.address: expected a Ray cluster to join at {address!r}, got none ({_last_line(error)}). "
                    "Nothing was spent"
                    if address
                    else f"compare.engine: expected a Ray cluster to start on this machine, got none "
                    f"({_last_line(error)}); try again when it has free cores and memory; RAY_TMPDIR must name a "
                    "folder that you may write, with a short path. Nothing was spent"
                ) from error
        try:
            yield RayCluster(ray, threads=threads, gpus=gpus, jobs=jobs, is_own=address is None)
        finally:
            ray.shutdown()


class RayCluster:
    """Trains students on the machines of a Ray cluster."""

    def __init__(self, ray: Any, *, threads: int, gpus: float, jobs: int | None, is_own: bool) -> None:
        self._ray = ray
        self._threads = threads
        self._gpus = gpus
        self._jobs = jobs
        self._is_own = is_own

    @property
    def slots(self) -> int:
        """See `Engine.slots`."""
        total = sum(self._slots_of(node) for node in self._nodes())
        return max(1, total if self._jobs is None else min(total, self._jobs))

    def check(self, config: RunConfig) -> None:
        """Check that a machine has what a task asks for, and that all such machines have this package, the networks
        and the weights files of an assistant and of a student's start.

        Raises:
            ConfigError: names the machine.
        """
        if not self._nodes():
            raise ConfigError(
                f"compare.gpus_per_student: expected a machine with {self._threads} CPU cores and {self._gpus:g} GPUs "
                f"in the Ray cluster, got {self._ray.cluster_resources()}. Nothing was spent"
            )
        for network in config.networks:
            digest = _digest_of(network)
            section = "student" if network == config.student.network_to_build else "self_training"
            for host, answer in self._on_each(_digest_on, network).items():
                if answer != digest:
                    raise ConfigError(
                        f"{section}.network: expected the code of {network} on every machine of the Ray cluster, got "
                        f"{answer} on {host}; install it there, or use a folder that all machines share. Nothing was "
                        "spent"
                    )
        for setting, file, digest_of_file, digest_on in (
            ("self_training.assistant", config.assistant, fingerprint, _fingerprint_on),
            ("student.weights", config.student.weights, digest_of, _weights_on),
        ):
            if file is None:
                continue
            expected = digest_of_file(file)
            for host, answer in self._on_each(digest_on, file).items():
                if answer != expected:
                    raise ConfigError(
                        f"{setting}: expected {file} with the same weights on every machine of the Ray cluster, got "
                        f"{answer} on {host}; use a folder that all machines share. Nothing was spent"
                    )

    def outcomes(self, tasks: Sequence[Task], inputs: Path) -> Generator[tuple[int, Outcome]]:
        """See `Engine.outcomes`. Where a machine does not see the file of inputs, the inputs are sent there."""
        ray = self._ray
        train = ray.remote(num_cpus=self._threads, num_gpus=self._gpus, max_retries=RETRIES)(_train)
        sent, is_shared = None, self._is_own or all(self._on_each(_sees, inputs).values())
        if not is_shared:
            sent = [ray.put(np.fromfile(inputs, np.uint8))]  # in a list, Ray does not load it before it is needed
        folder = f"tuition-{secrets.token_hex(8)}"  # a name that no other user of a machine can take before
        waiting, running = list(enumerate(tasks))[::-1], dict[Any, int]()

        def submit() -> None:
            position, task = waiting.pop()
            earlier = {} if is_shared else files_of(task.config.output.directory)
            running[train.remote(task, inputs, sent, folder, earlier)] = position

        try:
            for _ in range(min(len(tasks), self._jobs or len(tasks))):
                submit()
            while running:
                (done, *_), _ = ray.wait(list(running))
                task = tasks[position := running.pop(done)]
                outcome = outcome_of(self._reply(done, task))
                if waiting:
                    submit()
                yield position, outcome
        finally:
            for task_in_training in running:
                ray.cancel(task_in_training, force=True)
            if not is_shared:
                with suppress(ConfigError):  # of a machine that is gone
                    self._on_each(_remove, folder, seconds=_CLEAN_SECONDS)

    def _reply(self, done: Any, task: Task) -> Reply:
        """The reply to a task; the files of its run are written into its directory, if they were sent."""
        try:
            reply, files = self._ray.get(done)
        except self._ray.exceptions.RayTaskError as error:
            raise RunError(
                f"{task.label}: expected a Ray worker that can run this package, got {_last_line(error)}; install the "
                "same version on every machine of the cluster. What was bought is in the cache"
            ) from error
        except self._ray.exceptions.RayError as error:
            raise RunError(
                f"{task.label}: expected a Ray worker that trains to the end, got {RETRIES + 1} that did not "
                f"({_last_line(error)}). The same command resumes from the last checkpoint, and what was bought is in "
                "the cache"
            ) from error
        if files:
            put_back(task.config.output.directory, files)
        return reply  # type: ignore[no-any-return]

    def _nodes(self) -> list[Mapping[str, Any]]:
        """The machines that can train a student."""
        return [node for node in self._ray.nodes() if node["Alive"] and self._slots_of(node) > 0]

    def _slots_of(self, node: Mapping[str, Any]) -> int:
        resources = node["Resources"]
        slots = resources.get("CPU", 0) / self._threads
        return int(min(slots, resources.get("GPU", 0) / self._gpus) if self._gpus else slots)

    def _on_each(
        self, function: Callable[..., Any], *arguments: Any, seconds: float = _CHECK_SECONDS
    ) -> dict[str, Any]:
        """What a function returns on each machine, by the machine's name. Raises `ConfigError`."""
        ray, strategies = self._ray, import_module("ray.util.scheduling_strategies")
        calls = {}
        for node in self._nodes():
            here = strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            remote = ray.remote(num_cpus=0, scheduling_strategy=here)(function)
            calls[f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"] = remote.remote(*arguments)
        answers = {}
        for host, call in calls.items():
            try:
                answers[host] = ray.get(call, timeout=seconds)
            except ray.exceptions.RayError as error:
                raise ConfigError(
                    f"compare.address: expected a machine with the same version of this package and of Python, got "
                    f"{host}, which cannot run it ({_last_line(error)}); install the package on every machine of the "
                    "Ray cluster"
                ) from error
        return answers


def _train(task: Task, inputs: Path, sent: list[Any] | None, folder: str, earlier: Files) -> tuple[Reply, Files]:
    """Train a student in a worker of Ray: in the folder of the comparison where it is in sight, else elsewhere."""
    if sent is None or _sees(inputs):
        return reply_of(task, inputs), {}
    return train_elsewhere(task, folder, lambda: _ray().get(sent[0]), earlier)


def _sees(path: Path) -> bool:
    return path.exists()


def _remove(folder: str) -> None:
    shutil.rmtree(folder_of(folder), ignore_errors=True)


def _digest_of(network: str) -> str | None:
    """A digest of the code of a network of the user's own."""
    return source_digest(network) if runs_code(network) else None


def _digest_on(network: str) -> str | None:
    """What `_digest_of` returns on a machine, or why there is no digest."""
    try:
        return _digest_of(network)
    except ValueError as error:
        return f"none ({error})"


def _fingerprint_on(file: Path) -> str:
    """The fingerprint of a weights file on a machine, or why there is none."""
    try:
        return fingerprint(file)
    except ConfigError as error:
        return f"none ({error})"


def _weights_on(file: Path) -> str:
    """The digest of the weights that a student starts from on a machine, or why there is none."""
    try:
        return digest_of(file)
    except ConfigError as error:
        return f"none ({error})"


def _ray() -> Any:
    try:
        return import_module("ray")
    except ImportError as error:
        raise ConfigError(
            "compare.engine: expected the library ray for 'ray', got no such module; run: uv pip install "
            "'tuition[ray]'. Nothing was spent"
        ) from error


@cache
def _settings_of_own_cluster() -> dict[str, str]:
    """A cluster of this machine takes commands from this process alone, and sends no statistics of its use.

    One token for all clusters of a process: Ray keeps the first. With a token, Ray turns authentication on.
    """
    return {"RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set these environment variables, where they are not set; at the end, all variables are as before."""
    before = dict(os.environ)
    os.environ.update({**settings, **before})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _signal_handlers() -> Iterator[None]:
    """Keep the handlers of signals, which Ray replaces when it starts a cluster."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with suppress(ValueError):  # only the main thread may, and only there Ray replaces them
            signal.signal(signal.SIGTERM, before)


def _last_line(error: Exception) -> str:
    """The last line of an error's message, which says the most, at a length that can be read."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return shorten(lines[-1] if lines else type(error).__name__, 200)
