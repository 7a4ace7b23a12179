"""Results on standard output, all else on standard error, and one line with its exit status when it cannot be."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distill_worker.cli.command import app
from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.fake_teacher import FakeTeacher, describe
from tests.distill_worker.http_teacher import served

COMMANDS = sorted(str(command.name or getattr(command.callback, "__name__", "")) for command in app.registered_commands)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_of_every_command_works(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert f"Usage: root {name}".rstrip() in result.stdout


def test_every_command_is_known() -> None:
    assert {"demo", "plan", "fetch", "train", "run", "evaluate"} <= set(COMMANDS)


def _spoil_cache(folder: Path) -> None:
    (folder / "cache.sqlite").write_bytes(b"spoiled" * 1000)


def _spoil_directory(folder: Path) -> None:
    (folder / "run").write_bytes(b"")


@pytest.mark.parametrize(
    ("status", "arguments", "spoil", "needle"),
    [
        (4, ["fetch"], None, "http://127.0.0.1:1: the teacher cannot be reached"),
        (4, ["run"], None, "http://127.0.0.1:1: the teacher cannot be reached"),
        (2, ["run", "--set", "budget.m=5"], None, "budget.m: unknown key"),
        (2, ["plan", "--set", "budget.n=99999"], None, "budget.n: expected at most 1297"),
        (2, ["train", "--set", "method.name=ce", "--set", "budget.n=99999"], None, "budget.n: expected at most 1297"),
        (2, ["fetch", "--set", "method.name=ce"], None, "ce uses no teacher"),
        (3, ["train"], None, "cache.sqlite; `distill-worker fetch` creates one"),
        (3, ["train", "--teacher-id", "t"], None, "error: no cache at"),
        (3, ["train"], _spoil_cache, "cache.sqlite: the cache of bought outputs cannot be used"),
        (3, ["train", "--set", "method.name=ce"], _spoil_directory, "run: cannot write to it"),
        (
            2,
            ["train", "--set", "method.name=ce", "--set", "student.network=lenet"],
            None,
            "student.network: no network",
        ),
        (2, ["train", "--set", "method.name=ce", "--set", "training.learning_rate=1e30"], None, "a finite loss"),
    ],
)
def test_refusal_is_one_line_and_a_status(
    command: Command,
    config: Path,
    status: int,
    arguments: list[str],
    spoil: Callable[[Path], None] | None,
    needle: str,
) -> None:
    """Whatever a progress bar left before it, the error is the last line, and nothing is on standard output."""
    if spoil:
        spoil(config.parent)
    ended = command(arguments[0], config, *arguments[1:])
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert ended.status == status
    assert ended.stdout == ""
    assert errors == ended.stderr.splitlines()[-1:]
    assert needle in errors[0]


def test_evaluating_a_file_that_is_no_network_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"no weights")
    ended = command("evaluate", tmp_path / "weights")
    assert (ended.status, ended.stdout) == (3, "")
    assert ended.stderr.startswith("error: ")


@pytest.mark.parametrize("bought", [0, 6])
def test_plan_without_a_teacher_says_what_is_wanted_and_cached(
    command: Command, config: Path, monkeypatch: pytest.MonkeyPatch, bought: int
) -> None:
    """Once, then one line that the teacher cannot be reached; and no cache is created for it."""
    teacher = FakeTeacher(limit=20, description=describe(shape=(1, 8, 8), num_classes=10))
    if bought:
        with served(teacher) as url:
            monkeypatch.setenv("TEACHER_URL", url)
            assert command("fetch", config, "--max-calls", bought).status == 0
        monkeypatch.setenv("TEACHER_URL", "http://127.0.0.1:1")
    ended = command("plan", config)
    cached = "6 of teacher t" if bought else "0"
    assert ended.stdout == f"wanted: 10; cached in {config.parent}/cache.sqlite: {cached}\n"
    assert ended.status == 4
    assert [line for line in ended.stderr.splitlines() if "error" in line] == ended.stderr.splitlines()[-1:]
    assert "http://127.0.0.1:1: the teacher cannot be reached" in ended.stderr
    assert (config.parent / "cache.sqlite").exists() == bool(bought)
    facts = json.loads(command("plan", config, "--json").stdout)
    assert facts == {"wanted": 10, "cached_by_teacher": {"t": 6} if bought else {}}


def test_interrupt_has_its_status(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("distill_worker.cli.tables.lists.described_methods", interrupt)
    assert command("methods").status == 130


def test_help_lists_the_exit_statuses() -> None:
    help_text = " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())
    assert "5 a purchase was rejected: by quota, price or missing consent" in help_text


def test_module_is_the_command(config: Path) -> None:
    """`python -m distill_worker`, a real process: no traceback, one line, status 2."""
    ended = subprocess.run(
        [sys.executable, "-m", "distill_worker", "plan", str(config), "--set", "budget.m=5"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"error: {config}: budget.m: unknown key")
    assert ended.stderr.count("\n") == 1


def test_plan_tells_the_price_and_spends_nothing(command: Command, config: Path, teacher: FakeTeacher) -> None:
    facts = facts_of(command("plan", config, "--json"))
    assert (facts["wanted"], facts["cached"], facts["to_buy"], facts["requests"]) == (10, 0, 10, 3)
    assert (facts["remaining"], facts["limit"], facts["affordable"]) == (20, 20, True)
    assert teacher.sent == []


def test_plan_that_cannot_be_paid_for_ends_with_status_5(command: Command, config: Path, teacher: FakeTeacher) -> None:
    """The facts are told all the same."""
    ended = command("plan", config, "--json", "--set", "budget.n=25")
    assert ended.status == 5
    assert json.loads(ended.stdout)["affordable"] is False
    assert ended.stderr.splitlines()[-1].startswith("error: budget.n: expected a quota for 25 calls (25 samples wanted")
    assert teacher.sent == []


def test_plan_of_a_method_without_a_teacher_asks_none(command: Command, config: Path) -> None:
    assert facts_of(command("plan", config, "--json", "--set", "method.name=ce")) == {"wanted": 0, "to_buy": 0}


def test_run_buys_once_trains_and_reports(command: Command, config: Path, teacher: FakeTeacher) -> None:
    """Then more samples cost the difference, training needs no teacher, and the weights give the same accuracy."""
    first = facts_of(command("run", config, "--json"))
    assert teacher.paid == 10
    assert facts_of(command("run", config, "--json")) == first
    fetched = facts_of(command("fetch", config, "--json", "--set", "budget.n=12"))
    assert (fetched["cached"], fetched["bought"], teacher.paid) == (10, 2, 12)
    again = facts_of(command("train", config, "--json", "--fresh"))
    weights = config.parent / "run" / "student.safetensors"
    evaluated = facts_of(command("evaluate", weights, "--json"))
    assert again["accuracy"] == first["accuracy"] == evaluated["accuracy"]
    assert (first["n"], first["method"], first["teacher_id"], first["track"]) == (10, "kd", "t", "queried")
    assert teacher.paid == 12


def test_fresh_run_keeps_the_student_of_another_configuration(command: Command, config: Path) -> None:
    """Ten steps are not replaced by two, without a word: they are moved, and the place is named."""
    facts_of(command("train", config, "--json", "--set", "method.name=ce"))
    folder = config.parent / "run"
    before = (folder / "student.safetensors").read_bytes()
    two_steps = ("--set", "method.name=ce", "--set", "training.steps=2")
    other = command("train", config, *two_steps)
    assert other.status == 3
    assert "training.steps: 10 in the directory, 2 now" in other.stderr
    assert "--fresh" in other.stderr
    ended = command("train", config, "--json", "--fresh", *two_steps)
    assert facts_of(ended)["steps"] == 2
    assert f"was moved to {folder}/before-1" in ended.stderr
    assert (folder / "before-1" / "student.safetensors").read_bytes() == before


def test_mended_file_gets_the_directory_of_a_try_that_failed(command: Command, config: Path) -> None:
    failed = command("train", config, "--set", "method.name=ce", "--set", "training.learning_rate=1e30")
    assert "lower training.learning_rate" in failed.stderr
    assert facts_of(command("train", config, "--json", "--set", "method.name=ce"))["steps"] == 10


def test_exhausted_quota_keeps_what_was_bought(command: Command, config: Path, teacher: FakeTeacher) -> None:
    """The quota shrinks behind the plan's back; when it grows again, the same command buys the rest."""
    teacher.limit = 6
    teacher.quota = lambda: None  # type: ignore[method-assign]  # this teacher does not tell
    ended = command("fetch", config)
    assert (ended.status, ended.stdout, teacher.paid) == (5, "", 4)
    assert "Bought and cached: 4 of 10 samples" in ended.stderr.splitlines()[-1]
    teacher.limit = 10
    assert facts_of(command("fetch", config, "--json"))["bought"] == 6
    assert teacher.paid == 10


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_results_for_people_are_one_line_on_standard_output(command: Command, config: Path, name: str) -> None:
    trained = command("train", config, "--set", "method.name=ce")
    ended = trained if name == "train" else command("evaluate", config.parent / "run" / "student.safetensors")
    assert ended.status == 0
    assert ended.stdout.count("\n") == 1
    assert "of 500" in ended.stdout


def test_methods_are_listed_with_their_defaults(command: Command) -> None:
    """Text names every method; JSON holds what the text has no room for."""
    text, rows = command("methods").stdout, json.loads(command("methods", "--json").stdout)
    assert {line.split()[0] for line in text.splitlines() if line.split()} >= {row["name"] for row in rows}
    ckd = next(row for row in rows if row["name"] == "ckd")
    assert ckd["defaults"]["temperature"] == 4.0
    assert "2311.02253" in ckd["paper"]


def test_data_sets_are_listed(command: Command) -> None:
    known = json.loads(command("datasets", "--json").stdout)
    assert {"digits", "cifar100", "npz", "image-folder"} <= set(known)
    assert all(name in command("datasets").stdout for name in known)


def test_comparison_that_is_none_is_refused(command: Command, config: Path) -> None:
    ended = command("compare", config)
    assert ended.status == 2
    assert "compare: required, but absent; this is the file of a single run" in ended.stderr


def test_degraded_teacher_is_written_and_evaluated(command: Command, config: Path, tmp_path: Path) -> None:
    """All weights gone, it says one class for everything."""
    assert command("train", config, "--set", "method.name=ce").status == 0
    worse = tmp_path / "worse.safetensors"
    made = command("degrade", tmp_path / "run/student.safetensors", worse, "--prune", 1)
    assert made.stdout.startswith(str(worse))
    assert json.loads(command("evaluate", worse, "--json").stdout)["accuracy"] < 0.2
    again = command("degrade", tmp_path / "run/student.safetensors", worse, "--prune", 1)
    assert again.status == 2
    assert "expected a new file" in again.stderr
