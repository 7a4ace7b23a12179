"""A purchase that is interrupted, or told to terminate: it sends nothing more, and keeps all that was charged."""

import os
import signal
from pathlib import Path

import pytest

from distill_worker.cache import Cache
from tests.end_to_end.asking import wait_until
from tests.end_to_end.clocked_service import FileClock
from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import start
from tests.endurance import HANG_SECONDS

CONFIG = """
[data]
name = "digits"
[teacher]
url = "{url}"
expect_agreement = false
request_size = 4
[budget]
n = 400
[student]
network = "resnet8"
[method]
name = "kd"
[output]
cache = "{folder}/cache.sqlite"
"""
A_MINUTE = 60


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["SIGINT", "SIGTERM", "SIGHUP"])
def test_interrupted_fetch_stops_spending_and_keeps_what_was_charged(
    start_service: StartService, tmp_path: Path, told: signal.Signals
) -> None:
    """With 60 samples a minute allowed, and a clock that stands still, 340 of 400 are never sent."""
    clock = FileClock(tmp_path / "clock")
    clock.set(1_000_000_000.0)
    service = start_service(module="tests.end_to_end.clocked_service", CLOCK=str(clock.path))
    key = service.new_key("worker", 400, samples_per_minute=A_MINUTE).token
    config, log = tmp_path / "run.toml", tmp_path / "log"
    config.write_text(CONFIG.format(url=service.url, folder=tmp_path))
    worker = start("distill_worker", ["fetch", str(config)], log, {"TEACHER_API_KEY": key})
    wait_until(lambda: service.quota(key)["used"] >= A_MINUTE / 2 or not worker.is_alive())
    assert worker.is_alive(), log.read_text()
    assert worker.pid is not None
    os.kill(worker.pid, told)
    worker.join(HANG_SECONDS)
    assert worker.exitcode is not None, "it goes on"
    assert worker.exitcode != 0
    assert "Traceback" not in log.read_text()
    used = service.quota(key)["used"]
    assert used <= A_MINUTE
    with Cache(tmp_path / "cache.sqlite") as cache:
        (stream_id,) = cache.streams("logits").values()
        assert len(cache.holdings(stream_id)) == used
