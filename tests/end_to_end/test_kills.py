"""SIGKILL at random steps of the work: in the end every sample is paid exactly once, and every output is held."""

import os
import random
import signal
import sqlite3
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill_worker.cache import Cache
from distill_worker.config.load import load_config
from distill_worker.runs.sampling.samples import Samples
from shared.weights import load_weights
from teacher_service.models import TorchTeacher
from tests.distill_worker.purchases import cached_outputs
from tests.end_to_end.asking import wait_until
from tests.end_to_end.chaos_proxy import ChaosProxy
from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import RunningService, join, start
from tests.endurance import record, rounds
from tests.teacher_service.ledger_file import rows

WORKER_KILLS, SERVICE_KILLS = rounds(6, 30), rounds(5, 30)
REQUEST_SIZE, MOST_REQUESTS = 4, 8
"""Samples a request, and how many requests are sent at most before a kill."""
N = rounds(300, 1200)
"""More than all killed processes together buy, so that each kill finds something to interrupt."""
STEPS = ("send", "answer", "commit")
"""Where the worker dies; see dying_worker.py."""
SEED = int(os.environ.get("TUITION_KILL_SEED", "20261123"))

CONFIG = """
[data]
name = "digits"
[teacher]
url = "{url}"
expect_agreement = false
request_size = {request_size}
concurrency = 4
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


def test_fetch_pays_exactly_once_when_the_worker_is_killed(start_service: StartService, tmp_path: Path) -> None:
    """Killed again and again during `fetch`: in the end used equals n, and n true outputs are held."""
    service = start_service()
    api_key = service.create_key("worker", quota=N)
    config = _write_config(tmp_path, service.url)
    moments = random.Random(SEED)
    for number in range(WORKER_KILLS):
        step = STEPS[number % len(STEPS)]
        died = _fetch(config, api_key, f"{step}:{moments.randint(1, MOST_REQUESTS)}")
        join(died)
        assert died.exitcode == -signal.SIGKILL, (tmp_path / "log").read_text()
        assert step == "commit" or _open_purchases(tmp_path), "the kill leaves purchases whose end is unknown"
    worker = _fetch(config, api_key)
    join(worker)
    assert worker.exitcode == 0, (tmp_path / "log").read_text()
    _check_and_record("worker_killed", service, api_key, tmp_path, WORKER_KILLS)


def test_fetch_pays_exactly_once_when_the_service_is_killed(start_service: StartService, tmp_path: Path) -> None:
    """Killed again and again under load: after each start no hold is left over, and in the end used equals n."""
    gate = tmp_path / "gate"
    service = start_service(SECONDS_A_PASS="0.05", GATE=str(gate))
    api_key = service.create_key("worker", quota=N)
    moments = random.Random(SEED)
    with ChaosProxy(service.port, SEED) as proxy:
        proxy.calm = True
        proxy.admit(0)
        worker = _fetch(_write_config(tmp_path, proxy.url), api_key)
        gate.touch()
        proxy.admit(MOST_REQUESTS)
        wait_until(lambda: service.quota(api_key)["reserved"] > 0 or not worker.is_alive())
        assert worker.is_alive(), (tmp_path / "log").read_text()
        service.kill()
        gate.unlink()
        assert _check_restart(service) > 0, "the first kill comes while samples are certainly held"
        for _ in range(SERVICE_KILLS - 1):
            proxy.admit(moments.randint(1, MOST_REQUESTS))
            wait_until(lambda: proxy.is_used_up or not worker.is_alive())
            assert worker.is_alive(), (tmp_path / "log").read_text()
            service.kill()
            _check_restart(service)
        proxy.admit_all()
        join(worker)
    assert worker.exitcode == 0, (tmp_path / "log").read_text()
    _check_and_record("service_killed", service, api_key, tmp_path, SERVICE_KILLS)


def _fetch(config: Path, api_key: str, die_at: str | None = None) -> ForkServerProcess:
    module = "distill_worker" if die_at is None else "tests.end_to_end.dying_worker"
    environment = {"TEACHER_API_KEY": api_key, "DIE_AT": die_at or ""}
    return start(module, ["fetch", str(config)], config.with_name("log"), environment)


def _check_restart(service: RunningService) -> int:
    """Start the service that was killed: what its dead process held, so many queries, is given back."""
    ledger = service.data_dir / "ledger.sqlite"
    [(held_at_death,)] = rows(ledger, "SELECT count(*) FROM queries WHERE status = 'held'")
    service.start()
    [(used, settled, released)] = rows(
        ledger,
        "SELECT (SELECT used FROM api_keys), (SELECT coalesce(sum(samples), 0) FROM queries WHERE status = 'settled'),"
        " (SELECT count(*) FROM queries WHERE status = 'released')",
    )
    assert used == settled, "what is charged is what the log says was answered"
    assert used <= N
    assert released >= held_at_death, "the holds of the dead process are given back"
    return int(held_at_death)


def _write_config(tmp_path: Path, url: str) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.format(url=url, n=N, request_size=REQUEST_SIZE, cache=tmp_path / "cache.sqlite"))
    return path


def _open_purchases(tmp_path: Path) -> int:
    if not (tmp_path / "cache.sqlite").exists():
        return 0
    with sqlite3.connect(tmp_path / "cache.sqlite") as cache:
        if not cache.execute("SELECT 1 FROM sqlite_master WHERE name = 'purchases'").fetchone():
            return 0
        return int(cache.execute("SELECT count(*) FROM purchases WHERE status = 'open'").fetchone()[0])


def _check_and_record(name: str, service: RunningService, api_key: str, tmp_path: Path, kills: int) -> None:
    quota = service.quota(api_key)
    with sqlite3.connect(service.data_dir / "ledger.sqlite") as ledger:
        logged = ledger.execute("SELECT coalesce(sum(samples), 0) FROM queries WHERE status = 'settled'").fetchone()[0]
        stuck = ledger.execute("SELECT count(*) FROM queries WHERE status = 'held'").fetchone()[0]
    wrong = _wrong_outputs(service.weights, tmp_path)
    record("kills", f"{name}_kills", [kills], unit="kills", better="higher", target=25)
    record("kills", f"{name}_double_charges", [quota["used"] - N], unit="samples", better="lower", target=0)
    record("kills", f"{name}_lost_log_rows", [quota["used"] - logged], unit="samples", better="lower", target=0)
    record("kills", f"{name}_stuck_holds", [stuck + quota["reserved"]], unit="samples", better="lower", target=0)
    record("kills", f"{name}_wrong_outputs", [wrong], unit="outputs", better="lower", target=0)
    assert (quota["used"], quota["reserved"], quota["remaining"]) == (N, 0, 0)
    assert logged == N
    assert stuck == 0
    assert wrong == 0


def _wrong_outputs(weights: Path, tmp_path: Path) -> int:
    """How many of the n wanted outputs are absent from the cache or are not what the teacher says of that image."""
    samples = Samples.of(load_config(tmp_path / "run.toml"))
    _, _, fingerprint = load_weights(weights, trust_code=True)
    with Cache(tmp_path / "cache.sqlite") as cache:
        held = cached_outputs(cache, cache.stream(fingerprint, "logits"), samples.wanted)
    images = np.stack(list(samples.wanted.values()))
    expected = TorchTeacher(weights, "cpu", trust_code=True).predict(images)
    return sum(
        key not in held or not _close(held[key], truth) for key, truth in zip(samples.wanted, expected, strict=True)
    )


def _close(output: NDArray[np.float32], truth: NDArray[np.float32]) -> bool:
    return bool(np.allclose(output, truth, rtol=1e-4, atol=1e-5))
