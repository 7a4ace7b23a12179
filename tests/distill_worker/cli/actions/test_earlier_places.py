"""What was bought is used where earlier versions put it, from any folder; free commands create no cache."""

from pathlib import Path

import pytest

from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.fake_teacher import FakeTeacher


@pytest.fixture
def run(config: Path) -> Path:
    """A run with the default places, in a folder `configs` of its project."""
    text = "\n".join(line for line in config.read_text().splitlines() if not line.startswith("output"))
    path = config.parent / "project" / "configs" / "run.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def _bought(command: Command, run: Path, cache: Path) -> None:
    facts_of(command("fetch", run, "--set", f"output.cache={cache}", "--json"))


@pytest.mark.parametrize("free", [("plan",), ("train",), ("train", "--held"), ("reconcile",)])
def test_free_command_creates_no_cache(
    command: Command, run: Path, teacher: FakeTeacher, free: tuple[str, ...]
) -> None:
    """Those that need one say which is absent."""
    cache = run.parent / "other" / "cache.sqlite"
    ended = command(*free, run, "--set", f"output.cache={cache}")
    assert not cache.parent.exists()
    assert f"no cache at {cache}" in " ".join(ended.stderr.split())
    assert ended.status == (0 if free == ("plan",) else 3)
    assert teacher.paid == 0


def test_free_commands_leave_the_cache_of_the_working_directory_in_use(
    command: Command, run: Path, teacher: FakeTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run.parent.parent / "started" / "here"
    folder.mkdir(parents=True)
    _bought(command, run, folder / "runs/cache.sqlite")
    command("plan", run)
    monkeypatch.chdir(folder)
    facts_of(command("plan", run, "--json"))
    assert facts_of(command("fetch", run, "--json"))["bought"] == 0
    assert teacher.paid == 10


def test_cache_of_the_project_is_used_from_any_folder(
    command: Command, run: Path, teacher: FakeTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _bought(command, run, run.parent.parent / "runs/cache.sqlite")
    monkeypatch.chdir(tmp_path)
    assert facts_of(command("fetch", run, "--json"))["bought"] == 0
    assert teacher.paid == 10


def test_samples_of_another_cache_are_bought_again_only_with_consent(
    command: Command, run: Path, teacher: FakeTeacher
) -> None:
    """The message names the cache that holds them."""
    other = run.parent.parent / "runs/cache.sqlite"
    _bought(command, run, other)
    own = run.parent / "runs/cache.sqlite"
    facts_of(
        command("fetch", run, "--set", f"output.cache={own}", "--set", "budget.seed=1", "--max-calls", 1, "--json")
    )
    assert teacher.paid == 11
    planned = command("plan", run)
    assert f"in the cache {other}, from teacher t" in " ".join(planned.stdout.split() + planned.stderr.split())
    ended = command("fetch", run)
    assert (ended.status, teacher.paid) == (5, 11)
    assert f"in the cache {other}" in " ".join(ended.stderr.split())
    assert command("fetch", run, "--max-calls", 1).status == 0
    assert teacher.paid == 12
