"""The command in this process, a small run, and a teacher for it."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from distill_worker.cli.command import main
from tests.distill_worker.fake_teacher import FakeTeacher, describe
from tests.distill_worker.http_teacher import served


class Ended(NamedTuple):
    """What a command left."""

    status: int
    stdout: str
    stderr: str


Command = Callable[..., Ended]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `distill-worker` in this process, through the same `main` as the installed command."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["distill-worker", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            main()
        return Ended(int(exited.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A run of ten steps on ten samples, which writes no page; no teacher is at its address."""
    path = tmp_path / "run.toml"
    path.write_text(
        f"""
data.name = "digits"
student.network = "resnet8"
method.name = "kd"
budget.n = 10
training = {{steps = 10, batch_size = 8, device = "cpu"}}
teacher = {{url = "http://127.0.0.1:1", give_up_after_seconds = 0, request_size = 4, concurrency = 1}}
output = {{directory = "{tmp_path}/run", cache = "{tmp_path}/cache.sqlite", report = false}}
"""
    )
    return path


@pytest.fixture
def teacher(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTeacher]:
    """A teacher of ten classes for the digits, with a quota of 20, at TEACHER_URL."""
    teacher = FakeTeacher(limit=20, description=describe(shape=(1, 8, 8), num_classes=10))
    with served(teacher) as url:
        monkeypatch.setenv("TEACHER_URL", url)
        yield teacher


def facts_of(ended: Ended) -> dict[str, Any]:
    """What it printed as JSON, when it succeeded."""
    assert ended.status == 0, ended.stderr
    facts = json.loads(ended.stdout)
    assert isinstance(facts, dict)
    return facts
