"""Two workers on one PostgreSQL cache, wanting sets that overlap, pay for the union exactly, whoever is killed."""

import random
import signal
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from distill_worker.cache import Cache
from distill_worker.config.load import load_config
from distill_worker.runs.sampling.samples import Samples
from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import RunningService, join, start
from tests.endurance import record, rounds
from tests.postgresql import PostgresServer

N = rounds(200, 600)
KILLS = rounds(4, 12)
MOST_REQUESTS = 6
"""How many requests a worker sends at most before it dies: so few that none is done before the last kill."""
STEPS = ("send", "answer", "commit")
SEED = 20261124

CONFIG = """
[data]
name = "digits"
[teacher]
url = "{url}"
expect_agreement = false
request_size = 4
concurrency = 4
[budget]
n = {n}
seed = {seed}
[student]
network = "resnet8"
[method]
name = "ckd"
[output]
cache = "{cache}"
"""


def _configs(folder: Path, service: RunningService, cache: str) -> list[Path]:
    """Two runs on different random samples of the same digits."""
    paths = []
    for seed in (0, 1):
        path = folder / f"run-{seed}.toml"
        path.write_text(CONFIG.format(url=service.url, n=N, seed=seed, cache=cache))
        paths.append(path)
    return paths


def _wanted(config: Path) -> set[bytes]:
    return set(Samples.of(load_config(config)).wanted)


@pytest.mark.parametrize("kills", [0, KILLS], ids=["undisturbed", "killed"])
def test_two_workers_pay_for_the_union(
    start_service: StartService, postgres_server: PostgresServer, tmp_path: Path, kills: int
) -> None:
    """With kills, each at a random step; the other one takes over what the dead one left, or waits for it."""
    service = start_service(SECONDS_A_PASS="0.02")
    api_key = service.create_key("team", quota=2 * N)
    moments = random.Random(SEED)
    with postgres_server.database() as cache:
        configs = _configs(tmp_path, service, cache)
        wanted = [_wanted(config) for config in configs]
        union, both = wanted[0] | wanted[1], wanted[0] & wanted[1]
        assert len(both) > N / 10, "they overlap"

        def worker(index: int, die: bool) -> ForkServerProcess:
            log, environment = tmp_path / f"worker-{index}.log", {"TEACHER_API_KEY": api_key}
            if die:
                environment["DIE_AT"] = f"{moments.choice(STEPS)}:{moments.randint(1, MOST_REQUESTS)}"
            module = "tests.end_to_end.dying_worker" if die else "distill_worker"
            return start(module, ["fetch", str(configs[index])], log, environment)

        workers = [worker(index, die=kills > 0) for index in (0, 1)]
        for killed in range(1, kills + 1):
            if all(process.is_alive() for process in workers):
                wait([process.sentinel for process in workers])
            index = next(index for index in (0, 1) if not workers[index].is_alive())
            assert workers[index].exitcode == -signal.SIGKILL
            workers[index] = worker(index, die=killed < kills - 1)
        for process in workers:
            join(process)
        logs = [(tmp_path / f"worker-{index}.log").read_text() for index in (0, 1)]
        assert [process.exitcode for process in workers] == [0, 0], logs
        quota = service.quota(api_key)
        assert (quota["used"], quota["reserved"]) == (len(union), 0)
        with Cache(cache) as opened:
            (stream_id,) = opened.streams("logits").values()
            assert opened.missing(stream_id, union) == []
            records = [found for found in opened.purchases() if found.status == "done"]
        bought = [key for found in records for key in found.sample_keys]
        assert len(bought) == len(set(bought)) == len(union)
    if kills:
        over = quota["used"] - len(union)
        record("buying", "shared_cache_kills", [kills], unit="kills", better="higher", target=10)
        record("buying", "shared_cache_paid_twice", [over], unit="samples", better="lower", target=0)
