"""Every preset is valid in full, and runs in its quick form to an answer in words."""

import csv
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_worker.experiments.sweep.grid import PRESETS, load_sweep, preset_names
from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.data.datasets.cifar_files import write_cifar100


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory; of the data sets with a place in its folder `data`, CIFAR-100 is there."""
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).integers(0, 256, (60, 3072), dtype=np.uint8)
    write_cifar100(tmp_path / "data", rows, [label % 100 for label in range(60)], train=40, monkeypatch=monkeypatch)
    return tmp_path


@pytest.mark.parametrize("name", preset_names())
def test_preset_states_its_question_and_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    for quick in (False, True):
        sweep = load_sweep(name, quick=quick)
        assert sweep.question.endswith("?")
        assert sweep.directory == tmp_path / "runs" / "sweep" / (f"{name}-quick" if quick else name)
        data = {point.comparison.cells[0].config.data.name for point in sweep.points}
        if name == "other-data":
            assert data - {"fashion-mnist"} == {"digits", "cifar100"}
        elif name == "paper-table":
            assert data == {"cifar100"}
        else:
            assert data == {"digits" if quick else "fashion-mnist"}
        assert sweep.compare.seeds >= (2 if quick else 3)
    assert (PRESETS / f"{name}.toml").read_text().startswith("# ")
    assert "# Question (" in (PRESETS / f"{name}.toml").read_text()


@pytest.mark.parametrize("name", [name for name in preset_names() if name != "paper-table"])
def test_preset_runs_in_its_quick_form(name: str, command: Command) -> None:
    _check_answer(facts_of(command("sweep", name, "--quick", "--json")))


def test_table_of_the_paper_has_the_best_learning_rate_of_every_method(command: Command, tmp_path: Path) -> None:
    """On data in the format of CIFAR-100. The results of the other rates are in the table of all students."""
    facts = facts_of(command("sweep", "paper-table", "--quick", "--json"))
    _check_answer(facts)
    (point,) = facts["points"]
    assert (point["data"], len(point["results"]), len(facts["choices"])) == ("cifar100", 10 * 2, 10)
    assert all(re.search(r": training.learning_rate = 0\.(1|05) with n = 12\.$", one) for one in facts["choices"])
    with (tmp_path / "runs/sweep/paper-table-quick/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10 * 2 * 2
    assert {row["training.learning_rate"] for row in rows} == {"0.1", "0.05"}
    assert all(0 <= float(row["validation_accuracy"]) <= 1 for row in rows)
    text = command("sweep", "paper-table", "--quick").stdout
    assert "Chosen by validation accuracy:\n\n- resnet8 to resnet8, cross-entropy: training.learning_rate = 0." in text


def test_table_of_the_paper_without_its_data_names_the_files(command: Command, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "data")
    ended = command("sweep", "paper-table", "--quick")
    assert ended.status == 3
    assert "cifar100: no readable files" in ended.stderr
    assert "cifar-100-python/train" in ended.stderr


def _check_answer(facts: Mapping[str, Any]) -> None:
    *sentences, count = facts["answers"]
    assert sentences
    said = r" points (above|below) .*\((95 % interval .*|no interval), 2 seeds\): (not )?significant \(Holm's p "
    assert all(re.search(said, one) for one in sentences)
    assert count.startswith(tuple("0123456789"))
    assert len(facts["rows"]) == sum(len(point["results"]) for point in facts["points"])


def test_paper_small_fits_into_half_an_hour_of_two_cores() -> None:
    """By 45 ms a step of batch 64 on one core: students alone take 30 minutes of one core at most, two thirds of it."""
    (point,) = load_sweep("paper-small").points
    steps = sum(cell.config.training.steps for cell in point.comparison.cells)
    assert {cell.config.training.batch_size for cell in point.comparison.cells} == {64}
    assert steps * 0.045 <= 2 / 3 * 2 * 1800
