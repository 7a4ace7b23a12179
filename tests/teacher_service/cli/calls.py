"""Calls of the `teacher-service` command: in this process, and in one of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from typer.testing import CliRunner, Result

from teacher_service.cli.command import app


def keys_command(data_dir: Path, *arguments: str) -> Result:
    """`teacher-service keys` in this process."""
    return CliRunner().invoke(app, ["keys", *arguments, "--data-dir", str(data_dir)])


def listed_keys(data_dir: Path) -> list[tuple[str, int, bool]]:
    """Name, limit and whether it is revoked, of each key."""
    listed = keys_command(data_dir, "list", "--json")
    assert listed.exit_code == 0
    return [(key["name"], key["limit"], key["revoked"]) for key in json.loads(listed.stdout)["keys"]]


def assert_wrong_call(result: Result, message: str, status: int = 2) -> None:
    """The command printed no result, and this message."""
    assert (result.exit_code, result.stdout) == (status, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def command(*arguments: str, stdin: int | None = None) -> "subprocess.Popen[str]":
    """`teacher-service` in a process of its own; `stdin` as of `Popen`."""
    return subprocess.Popen(
        [sys.executable, "-m", "teacher_service", *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@contextmanager
def killed_at_the_end(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    """The process, for as long as the block."""
    with process:
        try:
            yield process
        finally:
            process.kill()
