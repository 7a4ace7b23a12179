"""A worker is killed before it stores an answer, and its key's secret is rotated: the answer is repeated for free."""

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from distill_worker.teachers.http_sender import credential_of
from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import RunningService, join, start

N = 12

CONFIG = """
[data]
name = "digits"
[teacher]
url = "{url}"
request_size = 4
concurrency = 1
[budget]
n = {n}
[student]
network = "resnet8"
[method]
name = "ckd"
[output]
cache = "{cache}"
"""


@pytest.fixture
def service(start_service: StartService) -> RunningService:
    return start_service()


@pytest.mark.parametrize(
    ("step", "recorded"),
    [
        ("send:2", "as now"),
        ("answer:2", "as now"),
        ("send:2", "as before, by this secret"),
        ("answer:2", "as before, by this secret"),
        ("send:2", "as before, by the old secret"),
        ("answer:1", "as before, by the old secret"),
        ("answer:2", "as before, by the old secret"),
    ],
)
def test_lost_answer_is_repeated_with_the_new_secret(
    service: RunningService, tmp_path: Path, step: str, recorded: str
) -> None:
    """Also from a cache whose purchases an earlier version recorded under a hash of the secret of that time."""
    key = service.create_key("worker", quota=N)
    config = _config(tmp_path, service)
    assert _fetch(config, key, step) == -signal.SIGKILL, (tmp_path / "log").read_text()
    used = service.quota(key)["used"]
    assert used == {"answer:1": 4, "send:2": 4, "answer:2": 8}[step]
    new = _rotated(service, tmp_path, key)
    if recorded != "as now":
        _record_payer(tmp_path, credential_of(new if recorded.endswith("this secret") else key))
    assert _fetch(config, new) == 0, (tmp_path / "log").read_text()
    assert service.quota(new)["used"] == N
    assert _reconcile(config, new) == 0, (tmp_path / "log").read_text()


def test_purchase_of_another_key_stays_its_own(service: RunningService, tmp_path: Path) -> None:
    """Two keys on one cache are two payers, whether the request was charged to the other one or never received."""
    config = _config(tmp_path, service)
    alice, bob = (service.create_key(name, quota=N) for name in ("alice", "bob"))
    assert _fetch(config, alice, "answer:2") == -signal.SIGKILL
    assert _fetch(config, bob) not in (0, -signal.SIGKILL)
    assert "open purchase of another API key" in " ".join((tmp_path / "log").read_text().split())
    assert service.quota(bob)["used"] == 0
    assert _fetch(config, alice) == 0
    assert (service.quota(alice)["used"], service.quota(bob)["used"]) == (N, 0)


def _config(folder: Path, service: RunningService) -> Path:
    config = folder / "run.toml"
    config.write_text(CONFIG.format(url=service.url, n=N, cache=folder / "cache.sqlite"))
    return config


def _fetch(config: Path, key: str, die_at: str | None = None) -> int | None:
    module = "distill_worker" if die_at is None else "tests.end_to_end.dying_worker"
    environment = {"TEACHER_API_KEY": key, "DIE_AT": die_at or ""}
    process = start(module, ["fetch", str(config), "--yes"], config.with_name("log"), environment)
    join(process)
    return process.exitcode


def _reconcile(config: Path, key: str) -> int | None:
    process = start("distill_worker", ["reconcile", str(config)], config.with_name("log"), {"TEACHER_API_KEY": key})
    join(process)
    return process.exitcode


def _rotated(service: RunningService, folder: Path, key: str) -> str:
    """A new secret for the key, made by the service's own command; the old one is rejected from then on."""
    printed = folder / "rotated.json"
    arguments = ["keys", "rotate", service.quota(key)["key_id"], "--json", "--data-dir", str(service.data_dir)]
    process = start("teacher_service", arguments, printed)
    join(process)
    assert process.exitcode == 0, printed.read_text()
    new: str = json.loads(printed.read_text())["key"]
    assert new != key
    return new


def _record_payer(folder: Path, payer: str) -> None:
    """Record all purchases under this name, as an earlier version did."""
    with closing(sqlite3.connect(folder / "cache.sqlite")) as connection, connection:
        assert connection.execute("UPDATE purchases SET payer = ?", [payer]).rowcount > 0
