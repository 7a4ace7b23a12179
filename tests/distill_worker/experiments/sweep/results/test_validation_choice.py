"""A method chooses a value by the validation accuracy of its students, and the test data choose nothing."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from distill_worker.experiments.sweep.directory import SweepDirectory
from distill_worker.experiments.sweep.results.facts import facts_of_sweep, stored_grid
from distill_worker.experiments.sweep.results.tidy_table import tidy_rows
from tests.distill_worker.experiments.report.finished import write_sweep

RATE = "training.learning_rate"
AXES = {"student.network": ["resnet8", "resnet14"], RATE: ["0.1", "0.05"]}
VALIDATION = {
    ("KD", 50, "0.1"): (0.60, 0.70),
    ("KD", 50, "0.05"): (0.69, 0.62),
    ("KD", 200, "0.1"): (0.70, 0.70),
    ("KD", 200, "0.05"): (0.60, 0.90),
    ("CKD", 50, "0.1"): (0.50, 0.50),
    ("CKD", 50, "0.05"): (0.50, 0.50),
    ("CKD", 200, "0.1"): (0.80, 0.80),
    ("CKD", 200, "0.05"): (0.79, 0.80),
}
"""Of two seeds. The test accuracy of a student is what is missing to 1, so that it would choose the contrary."""
CHOSEN = {("KD", 50): "0.05", ("KD", 200): "0.05", ("CKD", 50): "0.1", ("CKD", 200): "0.1"}
"""By hand; of equal values, the first."""


@pytest.fixture
def sweep(tmp_path: Path) -> SweepDirectory:
    """A sweep over two networks and two learning rates, of which each method is to choose one."""
    sweep = write_sweep(tmp_path, axes=AXES, seeds=2, lacks=32)
    grid = stored_grid(sweep)
    sweep.claim({**grid, "chosen_by_validation": [RATE]}, extend=False)
    for student in grid["students"]:
        validated = VALIDATION[student["method"], student["n"], student["point"][RATE]][student["seed"]]
        best = {"step": 1, "validation_accuracy": validated, "accuracy": 1 - validated}
        result = {"accuracy": 0.0, "calls": 50, "steps": 4, "seconds": 1.0, "best_validation": best}
        sweep.store(student["id"], result)
    return sweep


def _facts(sweep: SweepDirectory) -> dict[str, Any]:
    return facts_of_sweep(stored_grid(sweep), sweep)


def test_tables_and_answer_have_the_chosen_students_alone(sweep: SweepDirectory) -> None:
    """Their accuracy is that of the weights that are best by validation."""
    facts = _facts(sweep)
    assert facts["axes"] == ["student.network"]
    assert [point["point"] for point in facts["points"]] == [
        {"student.network": "resnet8"},
        {"student.network": "resnet14"},
    ]
    for point in facts["points"]:
        results = {(one["method"], one["n"], one["seed"]): one["accuracy"] for one in point["results"]}
        assert results == {
            (method, n, seed): 1 - VALIDATION[method, n, rate][seed]
            for (method, n), rate in CHOSEN.items()
            for seed in (0, 1)
        }
    assert {(row["method"], row["n"], row[RATE]) for row in facts["rows"]} == {
        (method, n, rate) for (method, n), rate in CHOSEN.items()
    }
    assert len(facts["rows"]) == 2 * 2 * 2 * 2
    assert [sentence.split(" is ")[0] for sentence in facts["answers"][:-1]] == [
        f"student.network = {network}, n = {n}: CKD" for network, n in product(("resnet8", "resnet14"), (50, 200))
    ]
    assert facts["students"]["done"] == facts["students"]["all"] == 32


def test_choice_is_stated(sweep: SweepDirectory) -> None:
    assert _facts(sweep)["choices"][:2] == [
        f"student.network = resnet8, KD: {RATE} = 0.05 with n = 50, 200.",
        f"student.network = resnet8, CKD: {RATE} = 0.1 with n = 50, 200.",
    ]


def test_table_of_all_students_has_every_value(sweep: SweepDirectory) -> None:
    rows = tidy_rows(stored_grid(sweep), sweep)
    assert len(rows) == 32
    assert {(row["method"], row["n"], row[RATE], row["seed"]): row["validation_accuracy"] for row in rows} == {
        (*place, seed): validated for place, of_seeds in VALIDATION.items() for seed, validated in enumerate(of_seeds)
    }


def test_nothing_is_chosen_while_a_student_is_missing(sweep: SweepDirectory) -> None:
    """Of the value with the lowest validation accuracy, too: it may rise."""
    student = next(
        one
        for one in stored_grid(sweep)["students"]
        if (one["method"], one["n"], one["seed"], *one["point"].values()) == ("KD", 50, 1, "resnet14", "0.1")
    )
    (sweep.path / "results" / f"{student['id']}.json").unlink()
    facts = _facts(sweep)
    assert [point["n"] for point in facts["points"]] == [[50, 200], [200]]
    places = [(row["student.network"], row["method"], row["n"]) for row in facts["rows"]]
    assert ("resnet14", "KD", 50) not in places
    assert len(places) == 14
    assert f"student.network = resnet14, KD: {RATE} = 0.05 with n = 200." in facts["choices"]
    assert facts["students"]["done"] == 31
