"""`distill-worker cache`: from the command line, what was bought is seen, checked, and shared."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.fake_teacher import FakeTeacher


@pytest.fixture
def place(command: Command, config: Path, teacher: FakeTeacher) -> Path:
    """A cache with ten outputs of teacher `t`."""
    facts_of(command("fetch", config, "--json"))
    assert teacher.paid == 10
    return config.parent / "cache.sqlite"


def test_statistics_of_a_cache(command: Command, place: Path) -> None:
    facts = facts_of(command("cache", "stats", place, "--json"))
    assert facts["streams"] == [{"teacher_id": "t", "kind": "logits", "samples": 10, "bytes": 400}]
    assert (facts["purchases"], facts["samples_paid"], facts["samples_open"]) == ({"done": 3}, 10, 0)
    told = command("cache", "stats", place).stdout
    assert "10 samples paid for; purchases: 3 done" in told


def test_whole_cache_is_verified(command: Command, place: Path, config: Path) -> None:
    """Its sample keys are those of the run's data set."""
    told = command("cache", "verify", place, "--config", config)
    assert told.status == 0
    assert told.stdout == "whole: 10 outputs; damaged: 0\nnot in the data set: 0\n"


def test_damaged_cache_ends_with_status_6_until_it_is_repaired(
    command: Command, place: Path, config: Path, teacher: FakeTeacher
) -> None:
    """Then the samples that were lost are bought again, and no others."""
    with closing(sqlite3.connect(place)) as connection, connection:
        connection.execute("UPDATE blocks SET vectors = zeroblob(80) WHERE id = 3")
    ended = command("cache", "verify", place)
    assert ended.status == 6
    assert "checksum: the outputs changed" in ended.stdout
    assert "--repair" in ended.stderr.splitlines()[-1]
    assert command("cache", "verify", place, "--repair").status == 0
    assert facts_of(command("cache", "stats", place, "--json"))["set_aside"] == 1
    assert facts_of(command("fetch", config, "--json"))["bought"] == 2
    assert teacher.paid == 12
    assert command("cache", "verify", place).status == 0


@pytest.mark.parametrize("suffix", ["safetensors", "parquet"])
def test_exported_outputs_train_another_teams_student(
    command: Command, config: Path, place: Path, teacher: FakeTeacher, suffix: str
) -> None:
    """They import the file, and need no teacher."""
    file = config.parent / f"bought.{suffix}"
    assert command("cache", "export", file, "--cache", place).stdout == f"10 outputs exported to {file}\n"
    theirs = config.parent / "theirs.sqlite"
    assert command("cache", "import", file, "--cache", theirs).stdout.startswith("10 of 10 outputs added to")
    trained = facts_of(command("train", config, "--json", "--set", f"output.cache={theirs}"))
    assert trained["teacher_id"] == "t"
    assert teacher.paid == 10


@pytest.mark.parametrize("name", ["stats", "verify"])
def test_asking_after_a_cache_that_is_not_there_makes_none(command: Command, tmp_path: Path, name: str) -> None:
    ended = command("cache", name, tmp_path / "none.sqlite")
    assert (ended.status, ended.stdout) == (3, "")
    assert "no cache at " in ended.stderr
    assert not (tmp_path / "none.sqlite").exists()


def test_file_that_is_not_there_is_imported_nowhere(command: Command, tmp_path: Path) -> None:
    ended = command("cache", "import", tmp_path / "none.parquet", "--cache", tmp_path / "none.sqlite")
    assert (ended.status, ended.stdout) == (3, "")
    assert "none.parquet: expected a file that" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_folder_is_no_cache(command: Command, tmp_path: Path) -> None:
    ended = command("cache", "stats", tmp_path)
    assert (ended.status, ended.stderr) == (3, f"error: {tmp_path}: expected the file of a cache, got a folder\n")


@pytest.mark.parametrize(
    "arguments", [("stats", "mysql://host/cache"), ("stats", "postgresql://host:port/x"), ("export", "bought.csv")]
)
def test_mistake_in_an_argument_ends_with_status_2(
    command: Command, place: Path, arguments: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no cache, or no file format, is no file that cannot be used."""
    monkeypatch.chdir(place.parent)
    options = ("--cache", place) if arguments[0] == "export" else ()
    assert command("cache", *arguments, *options).status == 2
