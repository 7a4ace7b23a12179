"""The processes of this machine train what one process alone trains, whatever kills them."""

import multiprocessing
import os
import re
import signal
import sys
from contextlib import closing
from multiprocessing import forkserver
from pathlib import Path
from types import ModuleType

import pytest

from distill_worker.errors import ConfigError, RunError
from distill_worker.experiments.engines.inputs import inputs_file
from distill_worker.experiments.engines.local import LocalProcesses
from distill_worker.experiments.engines.tasks import RETRIES
from tests.distill_worker.experiments.engines.students import (
    DIES,
    DIES_ONCE,
    FAILS,
    HANGS,
    Students,
    trainers_of,
    wait_until,
)
from tests.end_to_end.processes import join


def _train(students: Students, slots: int = 2) -> list[str]:
    """Train all students; the notes of the engine."""
    notes: list[str] = []
    with inputs_file(students.folder, students.inputs()) as inputs:
        outcomes = dict(LocalProcesses(slots, notes.append).outcomes(students.tasks(), inputs))
    assert sorted(outcomes) == list(range(students.count))
    assert {outcome.result["seed"] for outcome in outcomes.values()} == set(outcomes)
    assert list(students.folder.glob(".inputs*")) == []
    return notes


def test_students_have_the_bits_that_they_have_alone(tmp_path: Path) -> None:
    """Three students on two processes, so that one process trains two of them."""
    students = Students(tmp_path, 3)
    assert _train(students) == []
    assert students.weights() == students.weights_alone()


def test_student_whose_worker_is_killed_is_trained_to_the_same_bits(tmp_path: Path) -> None:
    students = Students(tmp_path, 2, DIES_ONCE)
    notes = _train(students)
    assert notes
    assert all(re.match(r"KD, seed \d: its worker was ended by SIGKILL; another one resumes", note) for note in notes)
    assert students.weights() == students.weights_alone()


def test_student_whose_workers_all_die_is_named_with_the_signal(tmp_path: Path) -> None:
    expected = rf"KD, seed 0: expected a worker that trains to the end, got {RETRIES + 1} .* ended by SIGKILL"
    with pytest.raises(RunError, match=expected):
        _train(Students(tmp_path, 1, DIES))


def test_error_of_a_student_is_raised_and_the_others_end(tmp_path: Path) -> None:
    students = Students(tmp_path, 2, FAILS)
    with pytest.raises(ConfigError, match=r"KD, seed \d: .*broken"):
        _train(students)
    assert [trainers_of(tmp_path / f"student-{seed}") for seed in range(2)] == [[], []]


def test_closing_ends_the_students_in_training(tmp_path: Path) -> None:
    """One student is finished, the other waits in its forward pass for ever."""
    students = Students(tmp_path, 2, HANGS)
    (tmp_path / "go").touch()
    tasks = students.tasks()
    with inputs_file(tmp_path, students.inputs()) as inputs:
        with closing(LocalProcesses(1, print).outcomes(tasks, inputs)) as outcomes:
            next(outcomes)
            (tmp_path / "go").unlink()
            (tmp_path / "hangs").unlink()
            wait_until((tmp_path / "hangs").exists)
            assert trainers_of(tmp_path / "student-1")
        assert trainers_of(tmp_path / "student-1") == []


def test_workers_do_not_run_the_script_that_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script without `if __name__ == "__main__"` would compare again in each worker; one from a pipe is no file."""
    script = ModuleType("__main__")
    script.__file__ = str(tmp_path / "<stdin>")
    monkeypatch.setitem(sys.modules, "__main__", script)
    assert _train(Students(tmp_path, 1)) == []
    assert sys.modules["__main__"] is script


def test_workers_that_cannot_be_started_are_named_before_anything_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server of workers listens at a socket in the temporary folder, whose path has at most 107 bytes."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(forkserver, "ensure_running", forkserver.ForkServer().ensure_running)
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", str(long))  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"AF_UNIX path too long.* set TMPDIR .* Nothing was spent"):
        LocalProcesses(1, print).check(Students(tmp_path, 1).config(0))


def test_workers_that_cannot_be_started_any_more_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_file_descriptors: list[int]) -> tuple[int, int]:
        raise EOFError("unexpected EOF")

    monkeypatch.setattr(forkserver, "connect_to_new_process", fails)
    with pytest.raises(RunError, match=r"got none \(unexpected EOF\).* what was bought is in the cache"):
        _train(Students(tmp_path, 1))


def test_workers_end_with_their_parent_and_the_next_list_removes_its_inputs(tmp_path: Path) -> None:
    students = Students(tmp_path, 1, HANGS)
    parent = multiprocessing.get_context("forkserver").Process(target=_train_until_the_student_hangs, args=(students,))
    parent.start()
    join(parent)
    assert parent.exitcode == -signal.SIGKILL
    wait_until(lambda: not trainers_of(tmp_path / "student-0"))
    assert len(list(tmp_path.glob(".inputs*"))) == 1
    (tmp_path / "go").touch()
    assert _train(students) == []


def _train_until_the_student_hangs(students: Students) -> None:
    """In a process of its own, which dies while its worker trains."""
    with inputs_file(students.folder, students.inputs()) as inputs:
        engine = LocalProcesses(1, lambda _: None).outcomes(students.tasks(), inputs)
        if os.fork() == 0:
            wait_until((students.folder / "hangs").exists)
            os.kill(os.getppid(), signal.SIGKILL)
            os._exit(0)
        next(engine)
