"""A comparison prints the same table with every engine, and pays for nothing when a worker is killed."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.experiments.engines.students import (
    DIES_ONCE,
    HANGS,
    folder_of_ray,
    trainers_of,
    wait_until,
    write_network,
)
from tests.distill_worker.fake_teacher import FakeTeacher
from tests.endurance import HANG_SECONDS

_ROOT = Path(__file__).parents[4]
_KD = '{label = "KD", method = {name = "kd"}}'
_TUNED = "tuning = {folds = 2, trials = 2, first_steps = 5}"
_IN_ROUNDS = 'budget = {strategy = "margin", rounds = 2}'
_SELF_TRAINED = 'track = "unlabelled-pool", self_training = {rounds = 1, members = 2}'
_STAGES = f"""
    {{label = "tuned", method = {{name = "kd"}}, settings = {{{_TUNED}}}}},
    {{label = "in rounds", method = {{name = "kd"}}, settings = {{{_IN_ROUNDS}}}}},
    {{label = "self-trained", method = {{name = "kd"}}, settings = {{{_SELF_TRAINED}}}}},
"""
"""Rows whose student is trained after other stages of its run."""


def _comparison(folder: Path, name: str, *, methods: str = _KD) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(
        f"""
data.name = "digits"
student.network = "net.py:Net"
training = {{steps = 20, batch_size = 4, checkpoint_every = 5, device = "cpu"}}
teacher.give_up_after_seconds = 0
[compare]
directory = "{name}"
cache = "cache.sqlite"
n = [8]
seeds = 2
jobs = 2
methods = [{{label = "CE", method = {{name = "ce"}}}}, {methods}]
"""
    )
    return path


def _repeatable(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """The results without the wall time."""
    return [{name: value for name, value in result.items() if name != "seconds"} for result in facts["results"]]


def _students(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in (folder / "students").glob("*/student.safetensors")}


def test_every_engine_gives_the_same_table_also_when_a_worker_is_killed(
    command: Command, tmp_path: Path, teacher: FakeTeacher
) -> None:
    """To the last bit, and each sample is paid once. The files that all students share are gone at the end."""
    write_network(tmp_path, DIES_ONCE)
    (tmp_path / "died").touch()
    undisturbed = facts_of(command("compare", _comparison(tmp_path, "undisturbed"), "--yes", "--json"))
    assert (undisturbed["calls_paid"], teacher.paid) == (8, 8)
    for engine in ("local", "ray"):
        (tmp_path / "died").unlink()
        with folder_of_ray():
            ended = command("compare", _comparison(tmp_path, f"with-{engine}"), "--engine", engine, "--json")
        facts = facts_of(ended)
        assert (tmp_path / "died").exists()
        assert (facts["calls_paid"], facts["cache_hits"], teacher.paid) == (0, 8, 8)
        assert _repeatable(facts) == _repeatable(undisturbed)
        assert _students(tmp_path / f"with-{engine}") == _students(tmp_path / "undisturbed")
        assert list((tmp_path / f"with-{engine}").glob(".inputs*")) == []


def test_rows_whose_runs_have_other_stages_give_the_same_table_when_a_worker_is_killed(
    command: Command, tmp_path: Path, teacher: FakeTeacher
) -> None:
    """What the stages chose is kept, and they pay for nothing."""
    write_network(tmp_path, DIES_ONCE)
    (tmp_path / "died").touch()
    undisturbed = facts_of(command("compare", _comparison(tmp_path, "undisturbed", methods=_STAGES), "--yes", "--json"))
    assert [result["track"] for result in undisturbed["results"]] == ["queried"] * 6 + ["unlabelled-pool"] * 2
    paid = teacher.paid
    assert 8 + 4 <= paid <= 8 + 2 * 4, "two students select the other half of eight"
    (tmp_path / "died").unlink()
    ended = command("compare", _comparison(tmp_path, "killed", methods=_STAGES), "--json")
    assert "its worker was ended by SIGKILL; another one resumes" in ended.stderr
    facts = facts_of(ended)
    assert {result["method"] for result in facts["results"] if "tuning" in result} == {"tuned"}
    assert {result["method"] for result in facts["results"] if "self_training" in result} == {"self-trained"}
    assert _repeatable(facts) == _repeatable(undisturbed)
    assert _students(tmp_path / "killed") == _students(tmp_path / "undisturbed")
    assert teacher.paid == paid


def test_fresh_comparison_resumes_the_student_whose_worker_is_killed(
    command: Command, tmp_path: Path, teacher: FakeTeacher
) -> None:
    """Each earlier run is moved aside once, and the new students have its bits."""
    write_network(tmp_path, DIES_ONCE)
    (tmp_path / "died").touch()
    comparison = _comparison(tmp_path, "compared")
    first = facts_of(command("compare", comparison, "--yes", "--json"))
    students = _students(tmp_path / "compared")
    (tmp_path / "died").unlink()
    ended = command("compare", comparison, "--fresh", "--json")
    assert "was moved to" in ended.stderr
    assert "its worker was ended by SIGKILL; another one resumes" in ended.stderr
    assert _repeatable(facts_of(ended)) == _repeatable(first)
    assert _students(tmp_path / "compared") == students
    moved = [path.name for path in (tmp_path / "compared" / "students").glob("*/before-*")]
    assert moved == ["before-1"] * 4
    assert teacher.paid == 8


def test_nothing_is_spent_where_ray_is_not_installed(
    command: Command, tmp_path: Path, teacher: FakeTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_network(tmp_path, DIES_ONCE)
    monkeypatch.setitem(sys.modules, "ray", None)
    ended = command("compare", _comparison(tmp_path, "compared"), "--engine", "ray", "--yes")
    assert ended.status == 2
    assert "expected the library ray for 'ray', got no such module" in ended.stderr
    assert (teacher.sent, teacher.paid) == ([], 0)


def test_interrupt_ends_the_students_in_training(tmp_path: Path) -> None:
    """SIGTERM while all wait in a step: their processes are gone, and so is the file that they share."""
    write_network(tmp_path, HANGS)
    comparison = _comparison(tmp_path, "compared", methods='{label = "CE2", method = {name = "ce"}}')
    command = [sys.executable, "-m", "distill_worker", "compare", str(comparison)]
    with subprocess.Popen(command, cwd=_ROOT, stderr=subprocess.PIPE, text=True) as process:
        wait_until((tmp_path / "hangs").exists)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 130, errors
    assert "ending the students in training; the same command resumes" in errors
    runs = list((tmp_path / "compared" / "students").iterdir())
    assert runs
    assert [trainers_of(run) for run in runs] == [[]] * len(runs)
    assert list((tmp_path / "compared").glob(".inputs*")) == []
