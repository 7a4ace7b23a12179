"""The facts of a sweep are read from its directory, also while students are missing."""

import json
from pathlib import Path

import pytest

from distill_worker.errors import RunError
from distill_worker.experiments.sweep.directory import SweepDirectory
from distill_worker.experiments.sweep.results.facts import facts_of_sweep, stored_grid
from tests.distill_worker.experiments.report.finished import sweep_facts, write_sweep

AXES = {"training.steps": ["400", "800"]}


def test_point_has_the_sizes_at_which_all_of_its_students_are_done(tmp_path: Path) -> None:
    facts = sweep_facts(tmp_path, axes=AXES, lacks=1)
    assert [point["n"] for point in facts["points"]] == [[50, 200], [50]]
    assert {result["n"] for result in facts["points"][1]["results"]} == {50}
    assert facts["students"] == {"all": 24, "done": 23, "seconds": pytest.approx(23 * 3.1)}
    assert len(facts["rows"]) == 23


def test_reference_is_there_when_its_whole_curve_is(tmp_path: Path) -> None:
    """Its curve may be finished before the sizes of the table are, or after."""
    first, second = sweep_facts(tmp_path, axes=AXES, reference=True, lacks=1)["points"]
    assert (first["reference"], second["reference"]) == ("KD", None)
    assert len(first["equivalent_calls"]) == 2
    assert (second["n"], second["equivalent_calls"], second["reference_n"]) == ([50, 200], [], [])


def test_versions_are_those_of_all_students(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path, axes=AXES)
    for student, torch in (("0-KD-50-0", "2.14"), ("0-KD-50-1", "2.15"), ("0-KD-50-2", "2.14")):
        sweep.student(student).mkdir(parents=True)
        (sweep.student(student) / "run.json").write_text(json.dumps({"environment": {"torch": torch, "cuda": None}}))
    assert facts_of_sweep(stored_grid(sweep), sweep)["versions"] == {"torch": "2.14, 2.15"}


def test_source_of_an_earlier_version_has_an_unknown_number_of_samples(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path, axes=AXES)
    sweep.save_source("digits", {"teacher": {"id": "a", "outputs": ["logits"]}})
    (source,) = facts_of_sweep(stored_grid(sweep), sweep)["sources"]
    assert (source["samples"], source["points"], source["teacher"]["id"]) == (None, 2, "a")


def test_directory_that_does_not_say_what_is_compared_is_an_error(tmp_path: Path) -> None:
    sweep = SweepDirectory(tmp_path)
    with pytest.raises(RunError, match="says what is compared, got none"):
        stored_grid(sweep)
    sweep.claim({"settings": {}, "students": []}, extend=False)
    with pytest.raises(RunError, match="got one of an earlier version; run the command"):
        stored_grid(sweep)
