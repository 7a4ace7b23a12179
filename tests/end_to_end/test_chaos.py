"""A network that does everything wrong, and SIGKILL to both ends: each sample is paid once, and kept as it was sold.

The worker is the real command, the service a real process; between them is a proxy of the tests' own.
"""

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from distill_worker.cache import Cache
from distill_worker.config.load import load_config
from distill_worker.runs.sampling.samples import Samples
from shared import oip
from teacher_service.database.engine import open_database
from teacher_service.models import TorchTeacher
from teacher_service.query_log.verify import verify
from tests.distill_worker.purchases import cached_outputs
from tests.end_to_end.chaos_proxy import FATES, ChaosProxy
from tests.end_to_end.chaos_run import REQUESTS_A_ROUND, ChaosRun, steady_port, write_run
from tests.end_to_end.processes import RunningService, join, start
from tests.endurance import ENDURANCE, record, rounds
from tests.teacher_service.ledger_file import rows

ROUNDS = {"sqlite": rounds(10, 200), "postgresql": rounds(10, 40)}
"""Tens: the process to kill is drawn from ten lots, all of which are drawn before any is put back."""
SAMPLES_A_ROUND = 2 * REQUESTS_A_ROUND + 2
"""More than are bought in one, so that there is something left to buy in the last."""
SEED = int(os.environ.get("TUITION_KILL_SEED", "20261124"))


@pytest.fixture
def service(slow_weights: Path, tmp_path: Path, ledger_place: Path | str) -> Iterator[RunningService]:
    """A service on a ledger of each kind."""
    environment = {"TEACHER_TRUST_CODE": "true", "SECONDS_A_PASS": "0.02"}
    service = RunningService(slow_weights, tmp_path / "service", environment, ledger_place, port=steady_port())
    service.start()
    yield service
    service.kill()


def test_each_sample_is_paid_once_whatever_the_network_and_the_kernel_do(
    service: RunningService, ledger_place: Path | str, tmp_path: Path
) -> None:
    """Round after round; then paid is n, the cache holds the bytes that were sold, reconcile finds no difference."""
    kind = "sqlite" if isinstance(ledger_place, Path) else "postgresql"
    n = ROUNDS[kind] * SAMPLES_A_ROUND
    api_key = service.create_key("worker", quota=2 * n)
    with ChaosProxy(service.port, SEED) as proxy:
        config = write_run(tmp_path, url=proxy.url, n=n)
        run = ChaosRun(service, proxy, config, api_key, tmp_path / "log", random.Random(SEED))
        for _ in range(ROUNDS[kind]):
            run.round()
        paid_in_chaos = rows(ledger_place, "SELECT used FROM api_keys")[0][0]
        ended = run.end()
    said = run.log.read_text()
    assert (ended, proxy.problems) == (0, []), said[-3000:]
    found = _reconciled(run)
    changed = _changed_outputs(ledger_place, config)
    quota = service.quota(api_key)
    _record(kind, n, run, quota["used"], changed, found)
    assert (quota["used"], quota["reserved"]) == (n, 0)
    assert rows(ledger_place, "SELECT SUM(samples) FROM queries WHERE status = 'settled'") == [(n,)]
    assert rows(ledger_place, "SELECT COUNT(*) FROM queries WHERE status = 'held'") == [(0,)]
    assert changed == 0
    assert _wrong_outputs(service.weights, config) == 0
    assert (found["exit_status"], found["differences"], found["rows"]) == (0, 0, [])
    assert found["findings"].keys() == {"held"}
    assert found["charged"] == found["held"] == n
    engine = open_database(ledger_place)
    assert verify(engine, now=time.time()).problems == []
    engine.dispose()
    assert "Traceback" not in said
    assert set(run.exits) <= {4}, "a worker that gave up says so; none ended before the work was done"
    assert paid_in_chaos < n, "all rounds had something to buy"
    assert {fate for fate in FATES if not run.proxy.counts[fate]} == set()
    assert run.proxy.counts["resets"] > 0
    assert run.proxy.counts["replays"] > 0 or not ENDURANCE, "every answer that was lost after its charge comes again"
    assert run.kills["service"] == ROUNDS[kind] // 2
    assert run.kills["worker"] + run.exits.total() >= ROUNDS[kind] // 2


def _reconciled(run: ChaosRun) -> dict[str, Any]:
    """What the command says; its exit status is 0."""
    told = run.log.with_name("reconciled")
    environment = {"TEACHER_API_KEY": run.api_key, "TEACHER_URL": run.service.url}
    command = start("distill_worker", ["reconcile", str(run.config), "--json"], told, environment)
    join(command)
    facts: dict[str, Any] = json.loads(told.read_text().splitlines()[0])
    return {**facts, "exit_status": command.exitcode}


def _changed_outputs(place: Path | str, config: Path) -> int:
    """How many wanted outputs are not held, or not the very bytes of the answer that was charged.

    The last bits of the model's outputs depend on which images shared a pass, so the bytes are those of the ledger.
    """
    wanted = Samples.of(load_config(config)).keys
    sold: dict[bytes, bytes] = {}
    with Cache(config.parent / "cache.sqlite") as cache:
        bought = {record.idempotency_key: record for record in cache.purchases() if record.status == "done"}
        held = _held(cache, wanted)
    stored = "SELECT idempotency_key, content, header_length FROM answers WHERE content IS NOT NULL"
    for key, content, head in rows(place, stored):
        if key not in bought:
            continue
        logits = oip.decode_response(bytes(content), str(head))[1]["logits"]
        sold |= {name: row.tobytes() for name, row in zip(bought[key].sample_keys, logits, strict=True)}
    return sum(name not in held or held[name].tobytes() != sold.get(name) for name in wanted)


def _wrong_outputs(weights: Path, config: Path) -> int:
    """How many wanted outputs are not, but for the last bits, what the network itself says of that image."""
    samples = Samples.of(load_config(config))
    with Cache(config.parent / "cache.sqlite") as cache:
        held = _held(cache, samples.keys)
    expected = TorchTeacher(weights, "cpu", trust_code=True).predict(np.stack(list(samples.wanted.values())))
    close = np.isclose(np.stack([held[key] for key in samples.wanted]), expected, rtol=1e-4, atol=1e-5)
    return int((~close.all(axis=1)).sum())


def _held(cache: Cache, wanted: list[bytes]) -> dict[bytes, NDArray[np.float32]]:
    [stream_id] = cache.streams("logits").values()
    return cached_outputs(cache, stream_id, wanted)


def _record(kind: str, n: int, run: ChaosRun, paid: int, changed: int, found: dict[str, Any]) -> None:
    counts, name = run.proxy.counts, f"chaos_{kind}"
    done = {
        "rounds": ROUNDS[kind],
        "kills": run.kills.total(),
        "resets": counts["resets"],
        "replays": counts["replays"],
    }
    for what, count in done.items():
        record("kills", f"{name}_{what}", [count], unit=what, better="higher")
    record("kills", f"{name}_paid", [paid], unit="samples", better="lower", target=n)
    record("kills", f"{name}_changed_outputs", [changed], unit="outputs", better="lower", target=0)
    record("kills", f"{name}_differences", [found["differences"]], unit="rows", better="lower", target=0)
