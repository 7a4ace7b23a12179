"""`report`, and the page that a run ends with."""

import csv
import json
from pathlib import Path

import pytest

from shared.weights import load_weights, weights_bytes
from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.experiments.report.finished import comparison
from tests.distill_worker.fake_teacher import FakeTeacher

PAGE = ("--set", "output.report=true")


def test_run_ends_with_its_page(command: Command, config: Path, teacher: FakeTeacher) -> None:
    """It names what was paid and the price; a second run pays nothing, and leaves the page as it is."""
    priced = ("--set", "teacher.price_per_call=0.02", "--yes", *PAGE)
    ended = command("run", config, *priced)
    page = config.parent / "run" / "report.html"
    assert (ended.status, ended.stderr.splitlines()[-1]) == (0, f"page: {page}")
    html = page.read_text()
    assert "learned from 10 answers" in html
    assert "0.20" in html
    assert "10 calls" in html
    assert html.count("data:image/png;base64,") > 24
    assert command("run", config, *priced).status == 0
    assert (page.read_text(), teacher.paid) == (html, 10)


def test_page_is_not_part_of_what_is_printed(command: Command, config: Path, teacher: FakeTeacher) -> None:
    assert "accuracy" in facts_of(command("run", config, "--json", *PAGE))
    assert teacher.paid == 10


@pytest.mark.usefixtures("teacher")
def test_fresh_run_has_a_new_page(command: Command, config: Path) -> None:
    """The earlier page is moved aside with its run."""
    assert command("run", config, *PAGE).status == 0
    assert command("run", config, "--fresh", "--set", "training.steps=12", *PAGE).status == 0
    folder = config.parent / "run"
    assert "10 steps" in (folder / "before-1" / "report.html").read_text()
    assert "12 steps" in (folder / "report.html").read_text()


@pytest.mark.usefixtures("teacher")
def test_page_that_cannot_be_written_is_a_warning(command: Command, config: Path) -> None:
    assert command("run", config).status == 0
    metrics = config.parent / "run" / "metrics.jsonl"
    metrics.unlink()
    metrics.mkdir()
    ended = command("run", config, *PAGE)
    assert ended.status == 0
    assert "accuracy" in ended.stdout
    assert "was not written" in ended.stderr
    assert "distill-worker report" in ended.stderr


@pytest.mark.usefixtures("teacher")
def test_page_without_an_analysis_says_why(command: Command, config: Path) -> None:
    """The analysis cannot be stored; the run is finished all the same."""
    assert command("run", config).status == 0
    (config.parent / "run" / "analysis.json").mkdir()
    ended = command("run", config, *PAGE)
    assert ended.status == 0
    assert "Analyses and images are left out where they are not at hand" in ended.stderr
    assert (config.parent / "run" / "report.html").exists()


@pytest.mark.usefixtures("teacher")
def test_page_of_a_run_executes_no_code_that_its_weights_name(command: Command, config: Path, tmp_path: Path) -> None:
    """The configuration names a network of ours; a weights file from elsewhere in its place names code."""
    assert command("run", config).status == 0
    weights, code = config.parent / "run" / "student.safetensors", tmp_path / "foreign.py"
    code.write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n")
    card, network, _ = load_weights(weights)
    weights.write_bytes(weights_bytes(network, card.model_copy(update={"network": f"{code}:make"})))
    ended = command("run", config, *PAGE)
    assert ended.status == 0
    assert "--trust-code" in ended.stderr
    assert not (tmp_path / "ran").exists()


def test_training_on_labels_ends_with_its_page(command: Command, config: Path) -> None:
    assert command("train", config, "--set", "method.name=ce", *PAGE).status == 0
    assert "without a teacher" in (config.parent / "run" / "report.html").read_text()


@pytest.mark.usefixtures("teacher")
def test_page_names_the_command_with_its_options(command: Command, config: Path) -> None:
    assert command("fetch", config).status == 0
    assert command("train", config, "--held", *PAGE).status == 0
    assert " --set output.report=true --held" in (config.parent / "run" / "report.html").read_text()


@pytest.mark.usefixtures("teacher")
def test_report_writes_the_page_of_a_run_again(command: Command, config: Path) -> None:
    assert command("run", config, *PAGE).status == 0
    folder = config.parent / "run"
    first = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    ended = command("report", folder)
    assert (ended.status, ended.stdout) == (0, f"{folder}/report.html\n")
    assert (folder / "report.html").read_text() == first


@pytest.mark.usefixtures("teacher")
def test_report_without_the_cache_leaves_the_analysis_out(command: Command, config: Path) -> None:
    assert command("run", config).status == 0
    (config.parent / "cache.sqlite").unlink()
    ended = command("report", config.parent / "run", "-o", config.parent / "page.html")
    assert ended.status == 0
    assert "--cache" in ended.stderr
    assert "learned from 10 answers" in (config.parent / "page.html").read_text()


def test_report_of_a_comparison(command: Command, tmp_path: Path) -> None:
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps(comparison()))
    ended = command("report", facts, "--figures", tmp_path / "figures")
    assert ended.stdout.splitlines()[-1] == str(tmp_path / "facts.html")
    assert (tmp_path / "figures" / "accuracy.png").exists()
    assert len(list(csv.reader(command("report", facts, "--format", "csv").stdout.splitlines()))) == 37
    assert command("report", facts, "--format", "markdown").stdout.startswith("# Comparison on digits\n")


def test_report_of_what_is_no_run(command: Command, tmp_path: Path) -> None:
    assert command("report", tmp_path).status == 3
    ended = command("report", tmp_path / "absent.json")
    assert (ended.status, ended.stdout) == (2, "")
    assert "the directory of a finished run or of a sweep, or the JSON" in ended.stderr
