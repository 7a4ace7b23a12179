"""`teacher-service log`: what it prints, and how it exits."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner, Result

from teacher_service.cli.command import app
from tests.teacher_service.ledger_file import rows
from tests.teacher_service.told_ledger import EVENTS, tell


@pytest.fixture(autouse=True)
def _logs_of_the_command_end_with_it() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """The folder of a ledger to which everything has happened."""
    tell(tmp_path / "ledger.sqlite")
    return tmp_path


def _log(data_dir: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["log", *arguments, "--data-dir", str(data_dir)])


def test_verify_prints_the_head_that_is_to_be_noted(told: Path) -> None:
    [(digest,)] = rows(told / "ledger.sqlite", "SELECT sha256 FROM chain_head")
    head = f"{EVENTS}:{digest.hex()}"
    for arguments in ([], ["--expect", head]):
        whole = _log(told, "verify", *arguments)
        assert (whole.exit_code, whole.stdout) == (0, f"entries: {EVENTS}\nhead: {head}\nproblems: 0\n")
    shown = json.loads(_log(told, "verify", "--json").stdout)
    assert shown == {"entries": EVENTS, "head": head, "problems": [], "problem_count": 0}


def test_log_of_either_database_is_verified_and_exported(
    ledger_place: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An existing ledger is asked for, and a server's is no file."""
    tell(ledger_place)
    place = ledger_place if isinstance(ledger_place, str) else f"sqlite:///{ledger_place}"
    monkeypatch.setenv("TEACHER_DATABASE_URL", place)
    verified = CliRunner().invoke(app, ["log", "verify"])
    assert (verified.exit_code, verified.stdout.splitlines()[-1]) == (0, "problems: 0"), verified.stderr
    assert len(CliRunner().invoke(app, ["log", "export"]).stdout.splitlines()) == 7


def test_verify_tells_each_problem_and_exits_with_6(told: Path) -> None:
    rows(told / "ledger.sqlite", "UPDATE queries SET samples = 1 WHERE id = 2")
    broken = _log(told, "verify")
    assert broken.exit_code == 6
    assert broken.stdout.startswith("problem: entry 3: its hash is wrong")
    shown = _log(told, "verify", "--json")
    assert shown.exit_code == 6
    assert json.loads(shown.stdout)["problem_count"] == len(json.loads(shown.stdout)["problems"]) == 3


def test_verify_counts_the_problems_after_the_first_twenty(told: Path) -> None:
    rows(told / "ledger.sqlite", "UPDATE query_events SET at = at + 1")
    assert "\nand 4 more\n" in _log(told, "verify").stdout


@pytest.mark.parametrize(
    ("status", "arguments", "message"),
    [
        (2, ["verify", "--expect", "5"], "expect: expected SEQUENCE:HASH"),
        (3, ["verify", "--data-dir", "nowhere"], "nowhere/ledger.sqlite: expected a ledger, got none"),
    ],
)
def test_wrong_call_is_explained(told: Path, status: int, arguments: list[str], message: str) -> None:
    """A mistyped folder is not made, and not called whole."""
    result = CliRunner().invoke(app, ["log", *arguments], env={"TEACHER_DATA_DIR": str(told)})
    assert (result.exit_code, result.stdout) == (status, "")
    assert message in result.stderr
    assert not Path("nowhere").exists()
