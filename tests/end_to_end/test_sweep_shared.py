"""`sweep` in several processes, killed in purchases and trainings: the same table, each student once, no call twice."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from distill_worker.cache import Cache
from distill_worker.cache.summary import summarise
from distill_worker.experiments.sweep.directory import SweepDirectory
from tests.distill_worker.experiments.engines.students import DIES_ONCE, wait_until, write_network
from tests.end_to_end.conftest import StartService
from tests.endurance import HANG_SECONDS

N: Final = 24
STUDENTS: Final = 8
SELECTING: Final = 4
"""The students of first rounds."""
MOST_CALLS: Final = 100
"""More than all students want: those that select in rounds want samples of their own."""
_ROOT: Final = Path(__file__).parents[2]
DEATHS: Final = ("send:2", "answer:3", "commit:7", "0002.json:2", "answer:1", ".json:10")
"""Where the command dies, one start after the other (see dying_worker.py): in the purchase; as the second round is
selected, and in its purchase; when the last of it is selected; when some results are there."""
_WAITS: Final = """while self.steps == 3 and not (HERE / "go").exists():
                (HERE / f"waits-{os.getppid()}").touch()
                time.sleep(0.01)"""
"""Until the file `go` exists, every training stands in its third step."""
OWN_TEACHER: Final = 'teacher = {network = "resnet8", steps = 10}'
IN_ROUNDS: Final = """
[[compare.methods]]
label = "KD, in rounds"
method = {name = "kd"}
settings.budget = {strategy = "margin", rounds = 2}
"""


def _sweep(
    folder: Path, event: str, *, url: str = "http://127.0.0.1:1", compare: str = "", rows: str = IN_ROUNDS
) -> Path:
    """KD and other rows, with n = 8 and N; without other rows, two seeds of KD."""
    folder.mkdir(exist_ok=True)
    write_network(folder, event)
    path = folder / "sweep.toml"
    path.write_text(
        f"""
data.name = "digits"
student.network = "net.py:Net"
training = {{steps = 20, batch_size = 8, checkpoint_every = 5, device = "cpu"}}
teacher = {{url = "{url}", expect_agreement = false, request_size = 4, concurrency = 2}}
[compare]
directory = "swept"
n = [8, {N}]
seeds = {1 if rows else 2}
jobs = 1
{compare}
[[compare.methods]]
label = "KD"
method = {{name = "kd"}}
{rows}
[sweep.grid]
"training.learning_rate" = [0.05, 0.1]
"""
    )
    return path


@contextmanager
def _started(path: Path, key: str = "", *, die_at: str | None = None) -> Iterator["subprocess.Popen[str]"]:
    module = "distill_worker" if die_at is None else "tests.end_to_end.dying_worker"
    environment = os.environ | {"TEACHER_API_KEY": key} | ({} if die_at is None else {"DIE_AT": die_at})
    command = [sys.executable, "-m", module, "sweep", str(path), "--yes", "--json"]
    with subprocess.Popen(
        command, cwd=_ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _end(process: "subprocess.Popen[str]") -> tuple[dict[str, Any], str]:
    """The facts and the notes of a sweep that succeeds."""
    output, notes = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 0, notes
    facts: dict[str, Any] = json.loads(output)
    return facts, notes


def _table(folder: Path) -> list[Mapping[str, str]]:
    """The tidy table without the wall time."""
    with (folder / "swept" / "results.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def _weights(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("swept/students/*/student.safetensors")}


def test_sweep_ends_the_same_however_often_it_is_killed(start_service: StartService, tmp_path: Path) -> None:
    """The table and the students' bits are those of an undisturbed sweep, and the ledger has each call once."""
    service = start_service()
    calm, torn = tmp_path / "calm", tmp_path / "torn"
    calm_key, torn_key = service.create_key("calm", MOST_CALLS), service.create_key("torn", MOST_CALLS)
    path = _sweep(calm, DIES_ONCE, url=service.url)
    (calm / "died").touch()
    with _started(path, calm_key) as process:
        _end(process)
    path = _sweep(torn, DIES_ONCE, url=service.url)
    for die_at in DEATHS:
        with _started(path, torn_key, die_at=die_at) as process:
            _, notes = process.communicate(timeout=HANG_SECONDS)
            assert process.returncode == -signal.SIGKILL, (die_at, notes)
    assert 0 < len(SweepDirectory(torn / "swept").finished()) < STUDENTS
    with _started(path, torn_key) as process:
        facts, _ = _end(process)
    assert facts["calls_paid"] == 0
    assert (torn / "died").exists(), "a worker was killed, too"
    quota = service.quota(torn_key)
    assert (quota["used"], quota["reserved"]) == (service.quota(calm_key)["used"], 0)
    assert quota["used"] > N
    assert _table(torn) == _table(calm)
    assert len(_table(torn)) == STUDENTS
    assert _weights(torn) == _weights(calm)


def test_two_processes_share_a_sweep_and_end_with_the_same_table(tmp_path: Path) -> None:
    """With an own teacher, from which each buys what the other has not; each student is trained once."""
    path = _sweep(tmp_path, _WAITS, compare=OWN_TEACHER)
    with _started(path) as first, _started(path) as second:
        wait_until(lambda: len(_waiting(tmp_path)) == 2)  # each process trains one student
        (tmp_path / "go").touch()
        (one, _), (other, _) = _end(first), _end(second)
    with Cache(tmp_path / "swept" / "cache.sqlite") as cache:
        assert one["calls_paid"] + other["calls_paid"] == summarise(cache).samples_paid > N
    assert [row["id"] for row in one["rows"]] == [row["id"] for row in other["rows"]]
    assert [row["accuracy"] for row in one["rows"]] == [row["accuracy"] for row in other["rows"]]
    assert len(_weights(tmp_path)) == STUDENTS
    trainings = _trainings(tmp_path)
    assert set(trainings.values()) == {1}
    assert len(trainings) == STUDENTS + SELECTING


def test_students_of_a_process_that_is_killed_are_taken_over(tmp_path: Path) -> None:
    """The other process waits for them, says for whom, and trains them when the kernel frees their locks."""
    path = _sweep(tmp_path, _WAITS.replace('"go"', 'f"go-{os.getppid()}"'), compare=OWN_TEACHER, rows="")
    with _started(path) as first:
        wait_until(lambda: len(_waiting(tmp_path)) == 1)
        with _started(path) as second:
            wait_until(lambda: len(_waiting(tmp_path)) == 2)
            (other,) = _waiting(tmp_path) - _waiting_of(first, tmp_path)
            (tmp_path / f"go-{other}").touch()
            directory = SweepDirectory(tmp_path / "swept")
            wait_until(lambda: len(directory.finished()) == STUDENTS - 1)
            assert second.stderr is not None
            assert any("waiting for 1 student that other processes train: " in line for line in second.stderr)
            first.kill()
            facts, _ = _end(second)
    assert len(facts["rows"]) == STUDENTS


def _waiting(folder: Path) -> set[str]:
    """The parents of the workers that stand in a training."""
    return {path.name.removeprefix("waits-") for path in folder.glob("waits-*")}


def _waiting_of(process: "subprocess.Popen[str]", folder: Path) -> set[str]:
    """Those whose parent, the server of workers, is a child of this process."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return _waiting(folder) & set(children)


def _trainings(folder: Path) -> Counter[str]:
    """How often each student's first steps were logged, also of those that select: once, if it was trained once."""
    logs = {str(path): path.read_text().splitlines() for path in folder.glob("swept/students/**/metrics.jsonl")}
    steps = {name: [json.loads(line)["step"] for line in lines] for name, lines in logs.items()}
    return Counter({name: of.count(min(of)) for name, of in steps.items()})
