"""A sweep whose students select in rounds: agreed to once, bought round after round, as a comparison buys."""

import json
from pathlib import Path
from typing import Final

import pytest

from distill_worker.experiments.sweep.directory import SweepDirectory
from tests.distill_worker.cli.actions.test_sweep import PRICE, sweep_file, table_of
from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.experiments.engines.students import (
    FAILS_UNTIL_MENDED,
    NOTHING,
    folder_of_ray,
    write_network,
)
from tests.distill_worker.fake_teacher import FakeTeacher

_ROWS: Final = """
n = [12]
seeds = 1
[[compare.methods]]
label = "KD"
method = {name = "kd"}
[[compare.methods]]
label = "KD, in rounds"
method = {name = "kd"}
settings.budget = {strategy = "margin", rounds = 3}
"""
LATER: Final = 8
"""The most calls of later rounds."""
TRAINED: Final = {"KD": 1, "KD, in rounds": 3}
"""The students that are trained for one of a row."""


def _file(folder: Path, *, name: str = "out", teacher: str = "", networks: str = '"net.py:Net"') -> Path:
    """KD with samples drawn at once, and KD in three rounds of 4 samples: 12 calls, and at most 8 more."""
    return sweep_file(folder, name=name, teacher=teacher, rows=_ROWS, sweep=f'"student.network" = [{networks}]')


def _seconds_of(folder: Path, trained: int) -> float:
    """The seconds of all that was trained for one student; `trained` says how many that is."""
    students = [path.parent for path in folder.glob("students/*/result.json")]
    (student,) = (one for one in students if len(list(one.rglob("result.json"))) == trained)
    return sum(float(json.loads(path.read_text())["seconds"]) for path in student.rglob("result.json"))


@pytest.fixture(autouse=True)
def network(tmp_path: Path) -> None:
    write_network(tmp_path, NOTHING)


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions of the next commands, on a terminal; all are answered with yes, but the first."""
    asked: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        asked.append(question)
        return len(asked) > 1

    monkeypatch.setattr("distill_worker.cli.actions.agreed_purchase.typer.confirm", confirm)
    monkeypatch.setattr("distill_worker.cli.actions.agreed_purchase.is_terminal", lambda: True)
    return asked


def test_students_and_calls_are_those_of_the_comparison(command: Command, tmp_path: Path, teacher: FakeTeacher) -> None:
    """To the last bit; what the comparison buys then is in the cache."""
    facts = facts_of(command("sweep", path := _file(tmp_path), "--yes", "--json"))
    assert facts["calls_paid"] == teacher.paid
    assert teacher.paid > 12
    comparison = tmp_path / "alone.toml"
    comparison.write_text(path.read_text().partition("[sweep.grid]")[0].replace('"out"', '"alone"'))
    alone = facts_of(command("compare", comparison, "--yes", "--json"))
    assert alone["calls_paid"] == 0
    rows = table_of(tmp_path / "out")
    assert [float(row["accuracy"]) for row in rows] == [result["accuracy"] for result in alone["results"]]
    weights = [
        {path.read_bytes() for path in tmp_path.glob(f"{folder}/students/*/student.safetensors")}
        for folder in ("out", "alone")
    ]
    assert weights[0] == weights[1]
    assert len(weights[0]) == len(rows)
    for results, folder in ((facts["rows"], "out"), (alone["results"], "alone")):
        stated = {row["method"]: row["seconds"] for row in results}
        assert stated == pytest.approx(
            {row: _seconds_of(tmp_path / folder, trained) for row, trained in TRAINED.items()}
        )


def test_all_rounds_are_agreed_to_at_once(
    command: Command, tmp_path: Path, teacher: FakeTeacher, questions: list[str]
) -> None:
    """A file may be changed after an answer of no: nothing is bought or trained."""
    path = _file(tmp_path, teacher=PRICE)
    ended = command("sweep", path)
    assert (ended.status, teacher.paid) == (5, 0)
    path.write_text(path.read_text().replace("steps = 4", "steps = 5"))
    ended = command("sweep", path, "--json")
    assert ended.status == 0, ended.stderr
    assert questions[0] == questions[1]
    assert len(questions) == 2
    now, _, later = questions[0].partition(" now, and up to ")
    assert now.startswith("spend 1")
    assert later == f"{LATER} more in later rounds?"


def test_sweep_that_ended_between_rounds_asks_for_the_later_ones(
    command: Command, tmp_path: Path, teacher: FakeTeacher, questions: list[str]
) -> None:
    """There is nothing to buy before the next selection, but the command would not ask after it."""
    (tmp_path / "broken").mkdir()
    write_network(tmp_path / "broken", FAILS_UNTIL_MENDED)
    path = _file(tmp_path, teacher=PRICE, networks='"broken/net.py:Net"')
    assert command("sweep", path, "--yes").status == 3
    paid = teacher.paid
    (tmp_path / "broken" / "mended").touch()
    ended = command("sweep", path)
    assert (ended.status, teacher.paid) == (5, paid)
    assert command("sweep", path).status == 0
    assert questions == [f"spend 0 calls for 0.00 EUR now, and up to {LATER} more in later rounds?"] * 2
    assert paid < teacher.paid <= paid + LATER


def test_failed_student_that_selects_ends_no_other(command: Command, tmp_path: Path, teacher: FakeTeacher) -> None:
    """Its student of the first round fails; all others are trained, and the next command has its calls left to buy."""
    (tmp_path / "broken").mkdir()
    write_network(tmp_path / "broken", FAILS_UNTIL_MENDED)
    teacher.limit = None
    path = _file(tmp_path, networks='"net.py:Net", "broken/net.py:Net"')
    ended = command("sweep", path, "--yes")
    assert ended.status == 3
    assert "expected 4 trained students, but 2 of them failed" in ended.stderr
    directory = SweepDirectory(tmp_path / "out")
    assert (len(directory.finished()), len(directory.failures())) == (2, 2)
    (tmp_path / "broken" / "mended").touch()
    paid = teacher.paid
    facts = facts_of(command("sweep", path, "--yes", "--json"))
    assert len(facts["rows"]) == 4
    assert facts["calls_paid"] == teacher.paid - paid
    assert directory.failures() == {}


def test_ray_gives_the_same_table(command: Command, tmp_path: Path, teacher: FakeTeacher) -> None:
    """Two workers of a cluster on this machine; and they pay for nothing."""
    facts_of(command("sweep", _file(tmp_path), "--yes", "--json"))
    paid = teacher.paid
    with folder_of_ray():
        facts_of(command("sweep", _file(tmp_path, name="on-ray"), "--engine", "ray", "--json"))
    assert table_of(tmp_path / "on-ray") == table_of(tmp_path / "out")
    assert teacher.paid == paid
