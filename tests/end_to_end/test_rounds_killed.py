"""`run` in rounds, killed inside purchases, inside trainings and between rounds, against a real service."""

import json
import signal
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import RunningService, join, start
from tests.endurance import ENDURANCE, record

N, ROUNDS = 120, 3
_EVERY_ROUND = ("send:1", "commit:9", "answer:3", "checkpoint.pt:1", "checkpoint.pt:2", "student.safetensors:1")
DEATHS = (
    [(step, r) for r in range(1, ROUNDS + 1) for step in (f"{r:04}.json:1", *_EVERY_ROUND)]
    if ENDURANCE
    else [
        *(("answer:3", 1), ("checkpoint.pt:2", 1)),
        *(("0002.json:1", 2), ("send:1", 2), ("student.safetensors:1", 2)),
        *(("answer:3", 3), ("checkpoint.pt:2", 3)),
    ]
)
"""Where the command dies, one start after the other (see dying_worker.py), and in which round."""

CONFIG = """
[data]
name = "digits"
[teacher]
url = "{url}"
expect_agreement = false
request_size = 4
concurrency = 2
give_up_after_seconds = 600
[budget]
n = {n}
strategy = "badge"
rounds = {rounds}
[student]
network = "resnet8"
[method]
name = "kd"
[training]
steps = 120
checkpoint_every = 20
batch_size = 16
device = "cpu"
[output]
directory = "{folder}/run"
cache = "{folder}/cache.sqlite"
"""


def test_run_in_rounds_ends_the_same_however_often_it_is_killed(start_service: StartService, tmp_path: Path) -> None:
    """The choices of every round, the student's bits and what is paid are those of a run that nobody disturbed."""
    service = start_service()
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    calm_key, torn_key = _prepare(service, undisturbed), _prepare(service, disturbed)
    calm = _run(undisturbed, calm_key)
    join(calm)
    assert calm.exitcode == 0, (undisturbed / "log").read_text()
    for die_at, number in DEATHS:
        died = _run(disturbed, torn_key, die_at=die_at)
        join(died)
        assert died.exitcode == -signal.SIGKILL, (disturbed / "log").read_text()
        assert _place(disturbed) == (number - die_at.startswith("0"), number - 1), die_at
    last = _run(disturbed, torn_key)
    join(last)
    assert last.exitcode == 0, (disturbed / "log").read_text()
    paid = service.quota(torn_key)
    record("kills", "rounds_killed_kills", [len(DEATHS)], unit="kills", better="higher")
    record("kills", "rounds_killed_double_charges", [paid["used"] - N], unit="samples", better="lower", target=0)
    assert (paid["used"], paid["reserved"], paid["remaining"]) == (N, 0, 0)
    assert service.quota(calm_key)["used"] == N
    assert _left_in(disturbed) == _left_in(undisturbed)
    keys = [key for number in range(1, ROUNDS + 1) for key in _choice(disturbed, number)["keys"]]
    assert len(set(keys)) == N


def test_plan_and_fetch_know_the_rounds_so_far(start_service: StartService, tmp_path: Path) -> None:
    """The first round alone, of n wanted in all; after `run`, everything, and nothing to buy."""
    service = start_service()
    api_key = _prepare(service, tmp_path)
    planned = _told(tmp_path, api_key, "plan")
    assert (planned["wanted"], planned["rounds_chosen"], planned["later"]) == (40, 1, 80)
    assert not (tmp_path / "run").exists()
    fetched = _told(tmp_path, api_key, "fetch")
    assert (fetched["bought"], fetched["rounds_chosen"], fetched["later"]) == (40, 1, 80)
    assert "40 of 120 samples are chosen; the students of later rounds choose" in (tmp_path / "log").read_text()
    result = _told(tmp_path, api_key, "run")
    assert (result["n"], service.quota(api_key)["used"]) == (N, N)
    planned = _told(tmp_path, api_key, "plan")
    assert (planned["wanted"], planned["to_buy"], planned["rounds_chosen"], planned["later"]) == (N, 0, ROUNDS, 0)
    assert _told(tmp_path, api_key, "train")["accuracy"] == result["accuracy"]


def _prepare(service: RunningService, folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "run.toml").write_text(CONFIG.format(url=service.url, n=N, rounds=ROUNDS, folder=folder))
    return service.create_key(folder.name, quota=N)


def _run(
    folder: Path, api_key: str, command: str = "run", *options: str, die_at: str | None = None
) -> ForkServerProcess:
    arguments = [command, str(folder / "run.toml"), *options]
    module = "distill_worker" if die_at is None else "tests.end_to_end.dying_worker"
    return start(module, arguments, folder / "log", {"TEACHER_API_KEY": api_key, "DIE_AT": die_at or ""})


def _told(folder: Path, api_key: str, command: str) -> dict[str, Any]:
    """The JSON that a command prints last."""
    worker = _run(folder, api_key, command, "--json")
    join(worker)
    log = (folder / "log").read_text()
    assert worker.exitcode == 0, log
    told: dict[str, Any] = json.loads(next(line for line in reversed(log.splitlines()) if line.startswith("{")))
    return told


def _choice(folder: Path, number: int) -> dict[str, Any]:
    choice: dict[str, Any] = json.loads((folder / "run" / "rounds" / f"{number:04}.json").read_text())
    return choice


def _place(folder: Path) -> tuple[int, int]:
    """How many rounds are chosen, and how many students of rounds trained."""
    rounds = folder / "run" / "rounds"
    return len(list(rounds.glob("*.json"))), len(list(rounds.glob("*/result.json")))


def _left_in(folder: Path) -> list[bytes]:
    choices = [f"rounds/{number:04}.json" for number in range(1, ROUNDS + 1)]
    students = [f"rounds/{number:04}/student.safetensors" for number in range(1, ROUNDS)]
    return [(folder / "run" / name).read_bytes() for name in [*choices, *students, "student.safetensors"]]
