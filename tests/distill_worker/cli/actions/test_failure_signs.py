"""The signs of a failed experiment, where the commands show them."""

import json
from pathlib import Path

import pytest

from distill_worker.cli.tables.experiments import show_comparison
from distill_worker.experiments.failure_signs.of_comparison import signs_of_comparison
from distill_worker.experiments.report.run_page import report_of_run
from distill_worker.experiments.report.run_record import read_run
from tests.distill_worker.cli.actions.test_sweep import sweep_file
from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.experiments.engines.students import NOTHING, write_network
from tests.distill_worker.experiments.failure_signs.test_of_comparison import failed
from tests.distill_worker.experiments.report.finished import write_run
from tests.distill_worker.fake_teacher import FakeTeacher

_LOSES = "if self.steps == 100: self.layers[3].weight.data.mul_(-30)"
"""Turns what was learned into its opposite."""
_LEARNS_LABELS = """
data.name = "digits"
student.network = "net.py:Net"
training = {steps = 150, batch_size = 16, learning_rate = 0.1, device = "cpu", precision = "float32"}
"""
_FAR_BELOW = "far below what the labels suggest"


def test_run_whose_teacher_is_far_below_the_labels(command: Command, config: Path, teacher: FakeTeacher) -> None:
    """Its outputs are pixels: 20 samples are too few to stop the purchase, and enough for a warning."""
    shown = ("--set", "budget.n=20", "--set", "output.report=true")
    ended = command("run", config, *shown, "--json")
    [warning] = facts_of(ended)["warnings"]
    assert _FAR_BELOW in warning
    assert f"warning: {warning}" in ended.stderr
    assert _FAR_BELOW in (config.parent / "run" / "report.html").read_text()
    assert facts_of(command("train", config, *shown, "--json"))["warnings"] == [warning]
    assert teacher.paid == 20


@pytest.mark.usefixtures("teacher")
def test_run_that_need_not_agree_has_no_sign(command: Command, config: Path) -> None:
    settings = ("--set", "budget.n=20", "--set", "teacher.expect_agreement=false")
    assert facts_of(command("run", config, *settings, "--json"))["warnings"] == []


def test_training_that_diverged(command: Command, tmp_path: Path) -> None:
    """Its network loses what it learned at two thirds of the steps, and learns it again."""
    write_network(tmp_path, _LOSES)
    run = tmp_path / "run.toml"
    output = 'output = {directory = "run", report = false}'
    run.write_text(f'{_LEARNS_LABELS}method.name = "ce"\nbudget.n = 100\n{output}\n')
    ended = command("train", run, "--json")
    [sign] = facts_of(ended)["warnings"]
    assert sign.startswith("The loss diverged and rose to its first value or above: from ")
    assert f"warning: {sign}" in ended.stderr


def test_comparison_names_the_student_that_diverged(command: Command, tmp_path: Path) -> None:
    write_network(tmp_path, _LOSES)
    comparison = tmp_path / "compare.toml"
    row = '{label = "CE", method = {name = "ce"}}'
    comparison.write_text(
        f'{_LEARNS_LABELS}[compare]\ndirectory = "out"\nn = [100]\nseeds = 1\njobs = 1\nmethods = [{row}]\n'
    )
    facts = facts_of(command("compare", comparison, "--json"))
    [sign] = facts["warnings"]
    assert ": CE, n = 100, seed 0: from " in sign
    assert facts["results"][0]["rise"]["peak"] > facts["results"][0]["rise"]["first"]
    assert "The loss diverged" in (tmp_path / "out" / "report.html").read_text()
    assert f"- {sign}\n" in command("compare", comparison).stdout


def test_page_of_a_run_whose_loss_diverged(tmp_path: Path) -> None:
    """Also of a run of an earlier version, whose command warned of nothing."""
    folder = write_run(tmp_path / "run", analysed=False)
    assert "What to look at" not in report_of_run(read_run(folder)).html
    losses = [2.3, 2.2, 2.0, 1.0, 0.9, 0.8, 6.0, 9.0, 7.0, 2.0, 1.0]
    lines = [{"step": step, "loss": loss, "kd": loss, "learning_rate": 0.1} for step, loss in enumerate(losses, 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "The loss diverged and rose to its first value or above" in report_of_run(read_run(folder)).html


@pytest.mark.parametrize("as_markdown", [True, False])
def test_tables_end_with_the_signs(capsys: pytest.CaptureFixture[str], as_markdown: bool) -> None:
    facts = {**failed(), "warnings": signs_of_comparison(failed())}
    show_comparison(facts, as_markdown=as_markdown)
    shown = capsys.readouterr().out
    assert all(f"\n- {sign}\n" in shown for sign in facts["warnings"])
    show_comparison({**facts, "warnings": []}, as_markdown=as_markdown)
    assert "What to look at" not in capsys.readouterr().out


@pytest.mark.usefixtures("teacher")
def test_sweep_whose_students_have_two_teachers(command: Command, tmp_path: Path) -> None:
    """The result of one says that an earlier version taught it."""
    write_network(tmp_path, NOTHING)
    sweep = sweep_file(tmp_path, sweep='"training.steps" = [4]')
    assert facts_of(command("sweep", sweep, "--json"))["warnings"] == []
    student = next(
        file
        for file in sorted((tmp_path / "out" / "results").glob("*.json"))
        if json.loads(file.read_text())["teacher_id"] is not None
    )
    student.write_text(json.dumps({**json.loads(student.read_text()), "teacher_id": "earlier"}))
    [warning] = facts_of(command("sweep", sweep, "--json"))["warnings"]
    assert "earlier taught 1 student" in warning
    assert "earlier taught 1 student" in (tmp_path / "out" / "report.html").read_text()
    assert f"- {warning}\n" in command("sweep", sweep).stdout
