"""The directory of a sweep holds one grid, and one result for each student."""

from pathlib import Path
from typing import Any

import pytest

from distill_worker.errors import RunError
from distill_worker.experiments.sweep.directory import SweepDirectory
from shared.durable.signed_lock import own_signature, signed_lock


def _grid(*ids: str, **settings: Any) -> dict[str, Any]:
    return {"settings": settings, "students": [{"id": one} for one in ids]}


def test_changed_grid_is_an_error_that_names_what_changed(tmp_path: Path) -> None:
    directory = SweepDirectory(tmp_path / "out")
    directory.claim(_grid("a", "b", **{"training.steps": 400, "data.name": "digits"}), extend=False)
    other = _grid("b", "c", "d", **{"training.steps": 800, "data.name": "digits", "track": "queried"})
    directory.store("b", {"accuracy": 0.5})
    with pytest.raises(RunError) as error:
        directory.claim(other, extend=False)
    assert (
        'track: not set in the directory, "queried" now; training.steps: 400 in the directory, 800 now; '
        "2 of its students are new, 1 are gone" in str(error.value)
    )
    assert "add --extend" in str(error.value)
    directory.claim(other, extend=True)
    assert directory.grid() == other
    assert directory.finished() == {"b"}


def test_grid_of_which_nothing_was_bought_may_change(tmp_path: Path) -> None:
    directory = SweepDirectory(tmp_path)
    directory.claim(_grid("a"), extend=False)
    directory.claim(_grid("b"), extend=False)
    assert directory.grid() == _grid("b")
    with directory.purchasing(lambda _line: None), pytest.raises(RunError, match="holds another sweep"):
        directory.claim(_grid("c"), extend=False)


def test_same_students_under_other_names_are_the_same_sweep(tmp_path: Path) -> None:
    directory = SweepDirectory(tmp_path)
    directory.claim(_grid("a", "b"), extend=False)
    directory.claim(_grid("b", "a", **{"compare.methods": ["renamed"]}), extend=False)
    assert directory.grid() == _grid("b", "a", **{"compare.methods": ["renamed"]})


def test_samples_of_each_teacher_are_counted_once(tmp_path: Path) -> None:
    directory = SweepDirectory(tmp_path)
    assert directory.add_samples("a/b", [b"1", b"2"]) == 2
    assert directory.add_samples("c", [b"1"]) == 1
    assert SweepDirectory(tmp_path).add_samples("a/b", [b"2", b"3"]) == 3


def test_result_is_written_once_and_ends_a_failure(tmp_path: Path) -> None:
    directory = SweepDirectory(tmp_path)
    directory.fail("a", "broken")
    directory.fail("b", "broken")
    assert directory.failures() == {"a": "broken", "b": "broken"}
    directory.store("a", {"accuracy": 0.5})
    directory.store("a", {"accuracy": 0.7})
    assert directory.result("a") == {"accuracy": 0.5}
    assert directory.failures() == {"b": "broken"}
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["a.json"]


def test_holder_of_a_student_is_the_one_with_the_lock_of_its_run_directory(tmp_path: Path) -> None:
    directory = SweepDirectory(tmp_path)
    assert directory.holder("a") is None
    assert not (tmp_path / "students").exists()
    (run := directory.student("a")).mkdir(parents=True)
    with signed_lock(run / ".lock"):
        assert directory.holder("a") == own_signature()
    assert directory.holder("a") is None


def test_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("[")
    with pytest.raises(RunError, match=r"sweep.json: cannot be read .*restore it, or delete it"):
        SweepDirectory(tmp_path).grid()
