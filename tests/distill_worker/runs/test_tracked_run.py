"""A run and its trackers, through a real kill: MLflow in a database file, Weights & Biases in its offline mode."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from distill_worker.errors import ConfigError, TrainingDiverged
from distill_worker.training.directory.run_directory import RunDirectory
from tests.distill_worker.runs.test_train_student import run
from tests.distill_worker.training.trackers.following import curves, wandb_records
from tests.distill_worker.training.trackers.test_named import install

ROOT = Path(__file__).parents[3]
_RUN = """
import os, signal, sys
from tests.distill_worker.runs.test_train_student import run
last, *trackers = sys.argv[2:]
end = lambda step, loss: step == int(last) and os.kill(os.getpid(), signal.SIGKILL)
run(sys.argv[1], end, output={"trackers": trackers})
"""
_STEPS = list(range(1, 21))
_WRITES_LINES = """
import json

class Lines:
    def begin(self, run):
        self.file = run.directory / "lines.jsonl"
        self.write({"id": run.id, "name": run.name, "after": run.resumes_after, "steps": len(run.earlier)})
        places = {"output", "teacher"} & run.configuration.keys()
        self.write({"method": run.configuration["method"]["name"], "places": sorted(places)})
    def log(self, step, values):
        self.write({"step": step, **values})
    def end(self, result):
        self.write({"result": result and result["accuracy"]})
    def write(self, line):
        with self.file.open("a") as file:
            print(json.dumps(line), file=file)
"""


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def _ends(folder: Path, *trackers: str, dies_at: int, environment: Mapping[str, str]) -> int:
    """The exit status of a run in a process of its own."""
    command = [sys.executable, "-c", _RUN, str(folder), str(dies_at), *trackers]
    return subprocess.run(command, check=False, cwd=ROOT, env=os.environ | environment, timeout=300).returncode


@pytest.mark.skipif(find_spec("mlflow") is None, reason="the extra mlflow is not installed")
def test_mlflow_has_each_step_of_a_killed_run_once_in_one_run(tmp_path: Path) -> None:
    """It is killed at step 13, after the checkpoint of step 10."""
    database = tmp_path / "mlflow.db"
    environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{database}", "MLFLOW_EXPERIMENT_NAME": "digits"}
    assert _ends(tmp_path, "mlflow", dies_at=13, environment=environment) == -signal.SIGKILL
    assert _ends(tmp_path, "mlflow", dies_at=0, environment=environment) == 0
    logged = _lines(tmp_path / "run" / "metrics.jsonl")
    with sqlite3.connect(database) as rows:
        [(run_id, status)] = rows.execute("SELECT run_uuid, status FROM runs")
        [name] = rows.execute("SELECT e.name FROM experiments e JOIN runs USING (experiment_id)")
        losses = rows.execute("SELECT step, value FROM metrics WHERE key = 'loss' ORDER BY step").fetchall()
        tested = rows.execute("SELECT step, value FROM metrics WHERE key = 'test_accuracy'").fetchall()
        params = dict(rows.execute("SELECT key, value FROM params WHERE run_uuid = ?", [run_id]))
    rows.close()
    assert (name, status) == (("digits",), "FINISHED")
    assert losses == [(line["step"], line["loss"]) for line in logged]
    assert tested == [(20, json.loads((tmp_path / "run" / "result.json").read_text())["accuracy"])]
    assert (params["method.name"], params["training.steps"], params["data.name"]) == ("ckd", "20", "digits")


@pytest.mark.skipif(find_spec("wandb") is None, reason="the extra wandb is not installed")
def test_wandb_has_each_step_of_a_killed_run_once_under_one_id(tmp_path: Path) -> None:
    """Offline, each process writes a file of its own. A kill may lose all of the first one: the second is whole."""
    environment = {"WANDB_MODE": "offline"} | {
        f"WANDB_{name}_DIR": str(tmp_path / name) for name in ("CACHE", "CONFIG", "DATA")
    }
    assert _ends(tmp_path, "wandb", dies_at=13, environment=environment) == -signal.SIGKILL
    assert _ends(tmp_path, "wandb", dies_at=0, environment=environment) == 0
    logged, result = _lines(tmp_path / "run" / "metrics.jsonl"), (tmp_path / "run" / "result.json").read_text()
    run_id = json.loads((tmp_path / "run" / "run.json").read_text())["id"]
    _, second = sorted((tmp_path / "run" / "wandb").glob(f"offline-run-*/run-{run_id}.wandb"))
    records = list(wandb_records(second))
    histories = [record.history.item for record in records if record.HasField("history")]
    values = [{item.key or item.nested_key[0]: json.loads(item.value_json) for item in items} for items in histories]
    assert [(of["_step"], of["loss"]) for of in values] == [(line["step"], line["loss"]) for line in logged]
    updates = [update for record in records if record.HasField("summary") for update in record.summary.update]
    summary = {update.key or update.nested_key[0]: json.loads(update.value_json) for update in updates}
    assert summary["test_accuracy"] == json.loads(result)["accuracy"]


def test_tracker_of_another_package_follows_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its beginning to its interruption, and from its checkpoint to its result."""
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "package_of_lines", "lines = package_of_lines:Lines", code=_WRITES_LINES)

    def interrupt(step: int, _: float) -> None:
        if step == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, interrupt, output={"trackers": ["lines"]})
    result = run(tmp_path, output={"trackers": ["lines"]})
    lines, logged = _lines(tmp_path / "run" / "lines.jsonl"), _lines(tmp_path / "run" / "metrics.jsonl")
    run_id = json.loads((tmp_path / "run" / "run.json").read_text())["id"]
    about = {"method": "ckd", "places": []}
    begins = [{"id": run_id, "name": "run", "after": step, "steps": step} for step in (0, 10)]
    ends = [{"result": None}, {"result": result["accuracy"]}]
    assert lines == [begins[0], about, *logged[:13], ends[0], begins[1], about, *logged[10:], ends[1]]


def test_unknown_tracker_ends_a_run_before_its_directory_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"output\.trackers: expected .* got 'none-such'"):
        run(tmp_path, output={"trackers": ["none-such"]})
    assert not (tmp_path / "run").exists()


def test_trackers_are_no_part_of_a_run(tmp_path: Path) -> None:
    """Without TensorBoard no folder is made; a finished run stays that run when it is turned on."""
    result = run(tmp_path, output={"tensorboard": False})
    assert not (tmp_path / "run" / "tensorboard").exists()
    assert run(tmp_path, output={"tensorboard": True}) == result


def test_events_of_an_earlier_run_are_moved_aside_and_the_next_has_another_id(tmp_path: Path) -> None:
    run(tmp_path)
    before, first = curves(tmp_path / "run"), json.loads((tmp_path / "run" / "run.json").read_text())["id"]
    RunDirectory(tmp_path / "run").vacate(lambda _line: None)
    run(tmp_path, training={"steps": 10})
    assert curves(tmp_path / "run" / "before-1") == before
    assert [step for step, _ in curves(tmp_path / "run")["loss"]] == _STEPS[:10]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["id"] != first


def test_events_of_another_run_that_saved_nothing_are_deleted(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged):
        run(tmp_path, training={"learning_rate": 1e30})
    assert (tmp_path / "run" / "tensorboard").exists()
    run(tmp_path)
    assert [step for step, _ in curves(tmp_path / "run")["loss"]] == _STEPS
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1
