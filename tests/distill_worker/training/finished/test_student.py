"""A finished student is read from its run directory, and what is none is named."""

import json
import shutil
from pathlib import Path

import pytest

from distill_worker.errors import RunError, WeightsFileError, WorkerError
from distill_worker.training.finished.student import RunFacts, load_student


def test_directory_and_weights_file_are_the_same_student(runs: Path) -> None:
    """With the result of the run, which stands beside the file."""
    directory, file = (
        load_student(place, trust_code=True) for place in (runs / "finished", runs / "finished" / "student.safetensors")
    )
    assert directory.fingerprint == file.fingerprint
    assert directory.facts() == file.facts()
    assert (file.facts().accuracy, file.facts().calls) == (0.656, 40)
    assert set(file.trained_with()) == {"python", "torch"}


def test_weights_file_elsewhere_has_no_result(runs: Path, tmp_path: Path) -> None:
    """A file of another name may be another network than that of the result beside it."""
    for place in (tmp_path / "student.safetensors", runs / "finished" / "other.safetensors"):
        shutil.copy(runs / "finished" / "student.safetensors", place)
        student = load_student(place, trust_code=True)
        assert student.facts() == RunFacts()
        assert student.trained_with() == {}


def test_code_of_a_network_runs_only_if_it_is_trusted(runs: Path) -> None:
    with pytest.raises(WeightsFileError, match="--trust-code"):
        load_student(runs / "finished")


def test_code_that_is_not_there_is_named(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsFileError, match=r"there is no file .*tiny\.py"):
        load_student(runs / "finished", trust_code=True)


@pytest.mark.parametrize(
    ("place", "error", "expected"),
    [
        ("unfinished", RunError, "expected a finished run, got one without a result; run the command that began it"),
        ("", RunError, "expected the directory of a run, with result.json"),
        ("absent", WeightsFileError, "expected a run directory or a weights file, got neither"),
        ("cache.sqlite", WeightsFileError, "expected a safetensors file"),
    ],
)
def test_what_is_no_finished_run_is_named(runs: Path, place: str, error: type[WorkerError], expected: str) -> None:
    with pytest.raises(error, match=expected):
        load_student(runs / place, trust_code=True)


def test_run_without_its_weights_is_named(runs: Path) -> None:
    (runs / "finished" / "student.safetensors").unlink()
    with pytest.raises(RunError, match="got a finished run whose weights were deleted"):
        load_student(runs / "finished", trust_code=True)


@pytest.mark.parametrize("content", [json.dumps({"accuracy": "good"}), "[]", "{"])
def test_result_of_another_program_is_named(runs: Path, content: str) -> None:
    (runs / "finished" / "result.json").write_text(content)
    with pytest.raises(RunError, match=r"result\.json: "):
        load_student(runs / "finished", trust_code=True).facts()
