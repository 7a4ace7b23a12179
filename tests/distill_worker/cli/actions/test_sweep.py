"""A sweep plans and prices all its purchases before the first call, and its directory holds one grid."""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from distill_worker.cli.tables.sweeps import show_sweep
from distill_worker.experiments.sweep.directory import SweepDirectory
from shared.durable.signed_lock import own_signature, signed_lock
from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.experiments.engines.students import FAILS_UNTIL_MENDED, NOTHING, write_network
from tests.distill_worker.fake_teacher import FakeTeacher, describe

_ROWS = """
n = [8]
seeds = 2
baseline = "KD"
methods = [{label = "CE", method = {name = "ce"}}, {label = "KD", method = {name = "kd"}}]
"""
PRICE = 'price_per_call = 0.25, currency = "EUR", '


def sweep_file(
    folder: Path,
    *,
    name: str = "out",
    teacher: str = "",
    rows: str = _ROWS,
    sweep: str = '"training.steps" = [4, 8]',
) -> Path:
    """A comparison for each point of a grid; by default of CE and KD at n = 8 with two seeds."""
    path = folder / f"{name}.toml"
    path.write_text(
        f"""
data.name = "digits"
student.network = "net.py:Net"
training = {{steps = 4, batch_size = 4, checkpoint_every = 2, device = "cpu"}}
teacher = {{{teacher} give_up_after_seconds = 0}}
[compare]
directory = "{name}"
cache = "cache.sqlite"
jobs = 2
{rows}
[sweep.grid]
{sweep}
"""
    )
    return path


def table_of(folder: Path) -> list[dict[str, str]]:
    """The tidy table without the wall time, which no two trainings share."""
    with (folder / "results.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(autouse=True)
def network(tmp_path: Path) -> None:
    write_network(tmp_path, NOTHING)


def test_sweep_buys_once_for_all_points_and_prints_their_tables(
    command: Command, tmp_path: Path, teacher: FakeTeacher
) -> None:
    """The same command trains nothing again; the table is in CSV and in Parquet."""
    path = sweep_file(tmp_path)
    ended = command("sweep", path, "--yes")
    assert ended.status == 0, ended.stderr
    assert ended.stdout.count("against KD") == 2
    assert "training.steps = 4" in ended.stdout
    assert teacher.paid == 8
    rows = table_of(tmp_path / "out")
    assert [(row["training.steps"], row["method"], row["seed"], row["calls"], row["steps"]) for row in rows] == [
        (steps, method, seed, "8" if method == "KD" else "0", steps)
        for steps in ("4", "8")
        for method in ("CE", "KD")
        for seed in ("0", "1")
    ]
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.read_table(tmp_path / "out" / "results.parquet").column("id").to_pylist() == [
        row["id"] for row in rows
    ]
    weights = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("students/*/student.safetensors")}
    assert len(weights) == 8
    facts = facts_of(command("sweep", path, "--json"))
    assert (facts["calls_paid"], teacher.paid, [str(row["id"]) for row in facts["rows"]]) == (
        0,
        8,
        [row["id"] for row in rows],
    )
    assert {path: path.stat().st_mtime_ns for path in weights} == weights
    assert table_of(tmp_path / "out") == rows


def test_samples_are_those_of_the_sweep_and_not_of_the_cache(
    command: Command, tmp_path: Path, teacher: FakeTeacher
) -> None:
    """Another sweep bought more into the cache. A later process, whose students need fewer, forgets none."""
    steps = '"training.steps" = [4]'
    larger, path = sweep_file(tmp_path, name="larger", sweep=steps), sweep_file(tmp_path, sweep=steps)
    larger.write_text(larger.read_text().replace("n = [8]", "n = [12]"))
    for file, samples in ((larger, 12), (path, 8)):
        (source,) = facts_of(command("sweep", file, "--yes", "--json"))["sources"]
        assert source["samples"] == samples
    path.write_text(path.read_text().replace("n = [8]", "n = [8, 5]"))
    (source,) = facts_of(command("sweep", path, "--yes", "--extend", "--json"))["sources"]
    assert (source["samples"], teacher.paid) == (8, 12)


def test_point_is_the_comparison_of_its_settings(command: Command, tmp_path: Path, teacher: FakeTeacher) -> None:
    """To the last bit: the weights of the students, too."""
    path = sweep_file(tmp_path)
    facts_of(command("sweep", path, "--yes", "--json"))
    comparison = tmp_path / "alone.toml"
    comparison.write_text(path.read_text().partition("[sweep.grid]")[0].replace('"out"', '"alone"'))
    alone = facts_of(command("compare", comparison, "--yes", "--json"))
    rows = [row for row in table_of(tmp_path / "out") if row["training.steps"] == "4"]
    assert [float(row["accuracy"]) for row in rows] == [result["accuracy"] for result in alone["results"]]
    students = {
        f"{row['method']}-n{row['n']}-seed{row['seed']}": tmp_path / "out" / "students" / row["id"] for row in rows
    }
    for name, student in students.items():
        weights = tmp_path / "alone" / "students" / name / "student.safetensors"
        assert (student / "student.safetensors").read_bytes() == weights.read_bytes()
    assert teacher.paid == 8


@pytest.mark.parametrize(
    ("axis", "agrees", "question", "paid"),
    [
        ('"teacher.label_smoothing" = [0.1, 0.2]', True, "spend 8 calls for 2.00 EUR?", 8),
        ('"teacher.output" = ["logits", "label"]', True, "spend 16 calls for 4.00 EUR?", 16),
        ('"teacher.output" = ["logits", "label"]', False, "spend 16 calls for 4.00 EUR?", 0),
    ],
)
def test_all_purchases_are_agreed_to_at_once(
    axis: str,
    agrees: bool,
    question: str,
    paid: int,
    command: Command,
    tmp_path: Path,
    teacher: FakeTeacher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Points that learn from the same outputs buy them once, and are priced once."""
    questions: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        questions.append(question)
        return agrees

    monkeypatch.setattr("distill_worker.cli.actions.agreed_purchase.typer.confirm", confirm)
    monkeypatch.setattr("distill_worker.cli.actions.agreed_purchase.is_terminal", lambda: True)
    teacher.description = describe(shape=(1, 8, 8), num_classes=10, tells=("logits", "label"))
    path = sweep_file(tmp_path, teacher=PRICE, sweep=axis)
    path.write_text(path.read_text().replace("n = [8]", "n = [6, 8]"))
    ended = command("sweep", path, "--json")
    assert ended.status == (0 if agrees else 5), ended.stderr
    assert questions == [question]
    assert teacher.paid == paid


def test_price_needs_an_agreement_and_the_quota_must_suffice(
    command: Command, tmp_path: Path, teacher: FakeTeacher
) -> None:
    path = sweep_file(tmp_path, teacher=PRICE)
    ended = command("sweep", path)
    assert (ended.status, teacher.paid) == (5, 0)
    assert "before 8 calls can be spent for 2.00 EUR" in ended.stderr
    path.write_text(path.read_text().replace("n = [8]", "n = [8, 30]"))
    ended = command("sweep", path, "--yes")  # another grid, of which nothing was bought yet
    assert (ended.status, teacher.paid) == (5, 0)
    assert "expected a quota for 30 calls" in ended.stderr


def test_unknown_tracker_ends_a_sweep_before_it_buys(command: Command, tmp_path: Path, teacher: FakeTeacher) -> None:
    path = sweep_file(tmp_path)
    path.write_text(path.read_text().replace("[compare]", '[compare]\ntrackers = ["none-such"]'))
    ended = command("sweep", path, "--yes")
    assert (ended.status, teacher.paid) == (2, 0)
    assert "output.trackers: expected" in ended.stderr


def test_teacher_of_another_version_ends_the_sweep(command: Command, tmp_path: Path, teacher: FakeTeacher) -> None:
    """Students of two versions in one table would be compared as if they had one teacher."""
    path = sweep_file(tmp_path)
    facts_of(command("sweep", path, "--yes", "--json"))
    teacher.description = replace(teacher.description, id="another")
    path.write_text(path.read_text().replace("n = [8]", "n = [8, 9]"))
    ended = command("sweep", path, "--yes", "--extend")
    assert (ended.status, teacher.paid) == (3, 8)
    assert "from which earlier students of this sweep learned, got another" in ended.stderr


def test_changed_grid_needs_extend_which_keeps_what_remains(
    command: Command, tmp_path: Path, teacher: FakeTeacher
) -> None:
    facts_of(command("sweep", sweep_file(tmp_path), "--yes", "--json"))
    kept = {row["id"] for row in table_of(tmp_path / "out") if row["training.steps"] == "8"}
    path = sweep_file(tmp_path, sweep='"training.steps" = [8, 6]')
    ended = command("sweep", path, "--yes")
    assert ended.status == 3
    assert "sweep.grid.training.steps: [4, 8] in the directory, [8, 6] now" in ended.stderr
    assert "4 of its students are new, 4 are gone" in ended.stderr
    facts = facts_of(command("sweep", path, "--extend", "--json"))
    assert {row["id"] for row in facts["rows"] if row["training.steps"] == "8"} == kept
    assert len(facts["rows"]) == 8
    assert teacher.paid == 8
    assert len(SweepDirectory(tmp_path / "out").finished()) == 12


def test_status_counts_students_by_point_and_changes_nothing(
    command: Command, tmp_path: Path, teacher: FakeTeacher
) -> None:
    path = sweep_file(tmp_path)
    ended = command("sweep", path, "--status")
    assert (ended.status, ended.stdout) == (0, f"{tmp_path / 'out'}: not started\n")
    assert not (tmp_path / "out").exists()
    rows = facts_of(command("sweep", path, "--yes", "--json"))["rows"]
    directory = SweepDirectory(tmp_path / "out")
    (tmp_path / "out" / "results" / f"{rows[0]['id']}.json").unlink()
    (tmp_path / "out" / "results" / f"{rows[4]['id']}.json").unlink()
    directory.fail(rows[0]["id"], "broken")
    with signed_lock(directory.student(rows[4]["id"]) / ".lock"):
        status = facts_of(command("sweep", path, "--status", "--json"))
        text = command("sweep", path, "--status").stdout
    assert status["points"] == [
        {"point": "training.steps = 4", "done": 3, "in training": 0, "waiting": 0, "failed": 1},
        {"point": "training.steps = 8", "done": 3, "in training": 1, "waiting": 0, "failed": 0},
    ]
    assert (status["holders"], status["calls_bought"]) == ([own_signature()], 8)
    assert status["seconds_left"] is not None
    assert f"in training by {own_signature()}" in text
    assert f"failed: {rows[0]['id']}: broken" in text
    assert teacher.paid == 8


def test_failed_student_ends_no_other_and_is_tried_again(
    command: Command, tmp_path: Path, teacher: FakeTeacher
) -> None:
    """One network of two raises an error in its third step."""
    (tmp_path / "broken").mkdir()
    write_network(tmp_path / "broken", FAILS_UNTIL_MENDED)
    path = sweep_file(tmp_path, sweep='"student.network" = ["net.py:Net", "broken/net.py:Net"]')
    ended = command("sweep", path, "--yes")
    assert ended.status == 3
    assert "4 of them failed; the first: student.network = broken/net.py:Net: CE, n = 8, seed" in ended.stderr
    directory = SweepDirectory(tmp_path / "out")
    assert (len(directory.finished()), len(directory.failures())) == (4, 4)
    (tmp_path / "broken" / "mended").touch()
    assert len(facts_of(command("sweep", path, "--json"))["rows"]) == 8
    assert directory.failures() == {}
    assert teacher.paid == 8


def test_without_pyarrow_one_line_says_so(
    command: Command, tmp_path: Path, teacher: FakeTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    ended = command("sweep", sweep_file(tmp_path), "--yes")
    assert ended.status == 0, ended.stderr
    assert ended.stderr.count("results.parquet was not written: it needs pyarrow") == 1
    assert not (tmp_path / "out" / "results.parquet").exists()
    assert teacher.paid == 8


def test_file_of_a_sweep_is_no_comparison(command: Command, tmp_path: Path) -> None:
    ended = command("compare", sweep_file(tmp_path))
    assert ended.status == 2
    assert "expected the file of a comparison, got that of a sweep; use distill-worker sweep" in ended.stderr


@pytest.mark.parametrize(("sentences", "others"), [(20, None), (21, "1 more difference on the page"), (30, "10 more")])
def test_long_answer_ends_on_the_page(sentences: int, others: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    """The screen has its first sentences and its last, which counts them."""
    answers = [f"sentence {number}" for number in range(sentences)] + ["2 of them are significant"]
    facts = {"points": [], "warnings": [], "choices": [], "question": "Which?", "answers": answers}
    show_sweep({**facts, "calls_paid": 0, "cache_hits": 0, "seconds": 1, "directory": "d"}, as_markdown=False)
    lines = [line[2:] for line in capsys.readouterr().out.splitlines() if line.startswith("- ")]
    assert lines[:20] == answers[:20]
    assert lines[-1] == answers[-1]
    assert len(lines) == 21 + (others is not None)
    assert others is None or lines[20].startswith(others)
