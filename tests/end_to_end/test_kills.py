"""SIGKILL at random moments: in the end every sample is paid exactly once, and every output is held."""

import os
import random
import sqlite3
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import record
from distill_worker.cache import Cache
from distill_worker.config.load import load_config
from distill_worker.runs.samples import Samples
from shared.weights import load_weights
from teacher_service.models import TorchTeacher
from tests.distill_worker.purchases import cached_outputs
from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import RunningService, kill, start

N = 1200
KILLS = 30
SEED = int(os.environ.get("TUITION_KILL_SEED", "20261123"))

CONFIG = """
[data]
name = "digits"
[teacher]
url = "{url}"
request_size = 4
concurrency = 4
give_up_after_seconds = 300
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
    """Killed 30 times during `fetch` and started again each time: used equals n, and n true outputs are held."""
    service = start_service(SECONDS_A_PASS="0.2")
    api_key = service.create_key("worker", quota=N)
    config = _write_config(tmp_path, service)
    moments = random.Random(SEED)
    kills = interrupted = 0
    while True:
        worker = start("distill_worker", ["fetch", str(config)], tmp_path / "log", {"TEACHER_API_KEY": api_key})
        if kills < KILLS:
            worker.join(moments.uniform(0.05, 0.6))
            if worker.exitcode is None:
                kill(worker)
                kills += 1
                interrupted += _open_purchases(tmp_path)
                continue
        worker.join()
        break
    assert worker.exitcode == 0, (tmp_path / "log").read_text()
    assert kills == KILLS
    assert interrupted > KILLS / 2, "most kills leave purchases whose end is unknown"
    _check_and_record("worker_killed", service, api_key, tmp_path, kills)


def test_fetch_pays_exactly_once_when_the_service_is_killed(start_service: StartService, tmp_path: Path) -> None:
    """Killed 30 times under load: after each start no hold is left over, and in the end used equals n."""
    service = start_service(SECONDS_A_PASS="0.1")
    api_key = service.create_key("worker", quota=N)
    config = _write_config(tmp_path, service)
    moments = random.Random(SEED)
    worker = start("distill_worker", ["fetch", str(config)], tmp_path / "log", {"TEACHER_API_KEY": api_key})
    kills = 0
    while worker.is_alive() and kills < KILLS:
        worker.join(moments.uniform(0.05, 0.6))
        service.kill()
        kills += 1
        with sqlite3.connect(service.data_dir / "ledger.sqlite") as ledger:
            held_at_death = ledger.execute("SELECT count(*) FROM queries WHERE status = 'held'").fetchone()[0]
        service.start()
        with sqlite3.connect(service.data_dir / "ledger.sqlite") as ledger:
            used, settled = ledger.execute(
                "SELECT (SELECT used FROM api_keys),"
                " (SELECT coalesce(sum(samples), 0) FROM queries WHERE status = 'settled')"
            ).fetchone()
            released = ledger.execute("SELECT count(*) FROM queries WHERE status = 'released'").fetchone()[0]
        assert used == settled, "what is charged is what the log says was answered"
        assert used <= N
        assert released >= held_at_death, "the holds of the dead process are given back"
    worker.join()
    assert worker.exitcode == 0, (tmp_path / "log").read_text()
    assert kills >= 25
    _check_and_record("service_killed", service, api_key, tmp_path, kills)


def _write_config(tmp_path: Path, service: RunningService) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.format(url=service.url, n=N, cache=tmp_path / "cache.sqlite"))
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
