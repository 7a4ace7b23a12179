"""Features for those who may see them, from a real service to a real cache, through a SIGKILL of the worker."""

import json
import signal
import sqlite3
from pathlib import Path

import numpy as np
import torch

from distill_worker.cache import Cache
from distill_worker.config.load import load_config
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.sampling.targets import find_teacher, load_targets
from shared.networks.taps import forward_with_features
from shared.normalise import normalise
from shared.weights import load_weights
from tests.end_to_end.asking import wait_until
from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import RunningService, join, start

N = 20
KINDS = ("features.pooled", "features.stage2", "logits")
CONFIG = """
[data]
name = "digits"
[teacher]
url = "{url}"
request_size = 4
concurrency = 2
[budget]
n = {n}
[student]
network = "resnet8"
[output]
cache = "{folder}/cache.sqlite"
directory = "{folder}/run"
"""
WHITE_BOX = (
    CONFIG
    + """
[method]
name = "fitnet"
teacher_layer = "stage2"
[[plus]]
name = "rkd"
on = "features"
"""
)
LOGITS_ALONE = (
    CONFIG
    + """
[method]
name = "kd"
"""
)


def test_features_are_bought_once_by_those_who_may_see_them(start_service: StartService, tmp_path: Path) -> None:
    service = start_service()
    config, kd = tmp_path / "white-box.toml", tmp_path / "kd.toml"
    config.write_text(WHITE_BOX.format(url=service.url, n=N, folder=tmp_path))
    kd.write_text(LOGITS_ALONE.format(url=service.url, n=N, folder=tmp_path))
    plain, seeing = service.create_key("plain", quota=N), service.create_key("seeing", quota=N, features=True)

    status, said = _worker(tmp_path, plain, "fetch", str(config))
    assert (status, "keys create --features" in said) == (5, True), said
    assert service.quota(plain) | {"used": 0, "reserved": 0, "features": False} == service.quota(plain)
    assert _open_purchases(tmp_path) == 0

    _kill_while_buying(service, seeing, tmp_path, config)
    assert _open_purchases(tmp_path) > 0
    status, said = _worker(tmp_path, seeing, "fetch", str(config))
    assert status == 0, said
    assert service.quota(seeing) | {"used": N, "reserved": 0, "remaining": 0} == service.quota(seeing)
    _assert_the_networks_own(service, config, tmp_path)

    status, said = _worker(tmp_path, plain, "plan", str(kd), "--json")
    assert status == 0, said
    made = json.loads(said.splitlines()[-1])
    assert (made["kinds"], made["cached"], made["to_buy"]) == (["logits"], N, 0)
    assert service.quota(plain)["used"] == 0


def _worker(folder: Path, api_key: str, *arguments: str) -> tuple[int | None, str]:
    """Exit status and output of one command."""
    log = folder / "command.log"
    log.unlink(missing_ok=True)
    command = start("distill_worker", arguments, log, {"TEACHER_API_KEY": api_key})
    join(command)
    return command.exitcode, log.read_text()


def _kill_while_buying(service: RunningService, api_key: str, folder: Path, config: Path) -> None:
    """SIGKILL when the second response has arrived; then at most four of the five requests were sent."""
    environment = {"TEACHER_API_KEY": api_key, "DIE_AT": "answer:2"}
    log = folder / "killed.log"
    worker = start("tests.end_to_end.dying_worker", ["fetch", str(config)], log, environment)
    join(worker)
    assert worker.exitcode == -signal.SIGKILL, log.read_text()
    wait_until(lambda: not service.quota(api_key)["reserved"])
    assert 0 < service.quota(api_key)["used"] < N


def _open_purchases(folder: Path) -> int:
    with sqlite3.connect(folder / "cache.sqlite") as cache:
        return int(cache.execute("SELECT count(*) FROM purchases WHERE status = 'open'").fetchone()[0])


def _assert_the_networks_own(service: RunningService, config: Path, folder: Path) -> None:
    samples = Samples.of(load_config(config))
    card, network, fingerprint = load_weights(service.weights, trust_code=True)
    with torch.inference_mode():
        logits, features = forward_with_features(
            network, normalise(samples.queried, card.mean, card.std), ("pooled", "stage2")
        )
    truth = {"logits": logits} | {f"features.{layer}": values for layer, values in features.items()}
    with Cache(folder / "cache.sqlite") as cache:
        assert find_teacher(cache, samples.keys, None, KINDS) == fingerprint
        held = load_targets(cache, fingerprint, samples.keys, KINDS)
    assert held["features.stage2"].shape == (N, 32, 4, 4)
    for kind in KINDS:
        np.testing.assert_allclose(held[kind].numpy(), truth[kind].numpy(), rtol=1e-4, atol=1e-5)
