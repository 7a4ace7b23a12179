"""What is printed with a terminal and without one: colours only on a terminal, and none with NO_COLOR."""

import os
import pty
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

COLOUR = re.compile(rb"\x1b\[(?:[0-9]+;)*(?:3[0-9]|4[0-9]|9[0-9])(?:;[0-9]+)*m")
COMMANDS = (["--help"], ["rnu"], ["plan", "--jsn"], ["methods"], ["plan", "absent.toml"])


def _environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "PY_COLORS")}
    kept.pop("GITHUB_ACTIONS", None)
    return {**kept, "TERM": "xterm-256color", "COLUMNS": "100", **variables}


def _on_terminal(arguments: list[str], folder: Path, *, answers: str = "", **variables: str) -> bytes:
    """What a command writes to a terminal on which a user types these answers."""
    here, there = pty.openpty()
    os.write(here, answers.encode())
    with subprocess.Popen(
        [sys.executable, "-m", "distill_worker", *arguments],
        stdin=there,
        stdout=there,
        stderr=there,
        env=_environment(**variables),
        cwd=folder,
    ):
        os.close(there)
        written = b""
        try:
            while part := os.read(here, 65536):
                written += part
        except OSError:  # the terminal is closed when the command ends
            pass
    os.close(here)
    return written


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_without_a_terminal_there_are_no_control_sequences(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "distill_worker", *arguments],
        capture_output=True,
        check=False,
        env=_environment(),
        cwd=tmp_path,
    )
    assert b"\x1b" not in done.stdout + done.stderr
    assert done.stdout + done.stderr


def test_no_color_is_kept_on_a_terminal(tmp_path: Path) -> None:
    """And without the variable, the same help has colours: the terminal is one."""
    assert COLOUR.search(_on_terminal(["--help"], tmp_path))
    for arguments in (["--help"], ["rnu"], ["methods"]):
        written = _on_terminal(arguments, tmp_path, NO_COLOR="1")
        assert len(written) > 100
        assert not COLOUR.search(written)


def test_questions_are_answered_on_a_terminal(tmp_path: Path) -> None:
    """A number of calls that cannot be is asked for again, and an empty answer takes what is proposed."""
    answers = "digits\nhttp://127.0.0.1:1\n\n1\nmany\n30\n"
    written = _on_terminal(["init"], tmp_path, answers=answers).decode()
    document = tomllib.loads((tmp_path / "run.toml").read_text())
    assert (document["data"]["name"], document["budget"]["n"]) == ("digits", 30)
    assert document["student"]["network"] == "resnet8x4"
    assert "expected a whole number of at least 2, got '1'" in written
    assert "got 'many'" in written
