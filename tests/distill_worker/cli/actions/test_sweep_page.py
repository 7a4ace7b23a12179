"""A sweep ends with its page, and `report` writes it again, also while students are missing."""

from pathlib import Path

import pytest

from tests.distill_worker.cli.actions.test_sweep import PRICE, sweep_file
from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.experiments.engines.students import NOTHING, write_network
from tests.distill_worker.fake_teacher import FakeTeacher


@pytest.fixture(autouse=True)
def network(tmp_path: Path) -> None:
    write_network(tmp_path, NOTHING)


def test_sweep_ends_with_its_page_which_report_writes_again(
    command: Command, tmp_path: Path, teacher: FakeTeacher
) -> None:
    """To the byte; as CSV it is results.csv. No call is spent for it."""
    path, out = sweep_file(tmp_path, teacher=PRICE), tmp_path / "out"
    ended = command("sweep", path, "--yes")
    page = out / "report.html"
    assert (ended.status, ended.stderr.splitlines()[-1]) == (0, f"page: {page}")
    html = page.read_text()
    assert "2.00 EUR, at 0.25 each" in html
    assert f"distill-worker sweep {path}" in html
    assert "student.network = " not in html
    assert "network = &#34;net.py:Net&#34;" in html
    page.unlink()
    ended = command("report", out, "--figures", tmp_path / "figures")
    assert (ended.status, ended.stdout.splitlines()[-1]) == (0, str(page)), ended.stderr
    assert page.read_text() == html
    assert (tmp_path / "figures" / "axis-1.svg").exists()
    assert command("report", out, "--format", "csv").stdout == (out / "results.csv").read_text()
    assert "## training.steps = 8: Against KD" in command("report", out, "--format", "markdown").stdout
    assert teacher.paid == 8


def test_page_of_an_unfinished_sweep_says_how_many_students_are_missing(
    command: Command, tmp_path: Path, teacher: FakeTeacher
) -> None:
    rows = facts_of(command("sweep", sweep_file(tmp_path), "--yes", "--json"))["rows"]
    out = tmp_path / "out"
    (out / "results" / f"{rows[-1]['id']}.json").unlink()
    assert command("report", out).status == 0
    assert "1 of 8 students have no result yet." in (out / "report.html").read_text()
    for row in rows[:-1]:
        (out / "results" / f"{row['id']}.json").unlink()
    ended = command("report", out)
    assert ended.status == 3
    assert "expected a sweep with results, got one without" in ended.stderr
    assert teacher.paid == 8


@pytest.mark.usefixtures("teacher")
def test_page_has_no_password_of_an_address(command: Command, tmp_path: Path) -> None:
    """The password of a proxy, or of a database, stands in the file of the sweep."""
    path = sweep_file(tmp_path, teacher='url = "http://user:secret@127.0.0.1:1", ')
    assert command("sweep", path, "--yes").status == 0
    html = (tmp_path / "out" / "report.html").read_text()
    assert "http://127.0.0.1:1" in html
    assert "secret" not in html


@pytest.mark.usefixtures("teacher")
def test_page_that_cannot_be_written_is_a_warning(command: Command, tmp_path: Path) -> None:
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    ended = command("sweep", sweep_file(tmp_path), "--yes")
    assert ended.status == 0
    assert "was not written" in ended.stderr
    assert "against KD" in ended.stdout
