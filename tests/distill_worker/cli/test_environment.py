"""Variables that people have: they matter where they count, and are one clear sentence where they are wrong."""

import os
from pathlib import Path

import pytest

from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.fake_teacher import FakeTeacher

ODD = {
    "ALL_PROXY": "socks5://127.0.0.1:1",
    "HTTP_PROXY": "http://127.0.0.1:1",
    "https_proxy": "nonsense://",
    "NO_PROXY": "fe80::/10,[::1]:x",
    "SSL_CERT_FILE": "/nowhere/ca.pem",
    "SSL_CERT_DIR": "",
}


def test_teacher_on_this_machine_needs_none_of_them(
    command: Command, config: Path, teacher: FakeTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does white space around the address and the key matter."""
    for name, value in ODD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TEACHER_URL", f" {os.environ['TEACHER_URL']}\n")
    monkeypatch.setenv("TEACHER_API_KEY", " tk_1_secret\r\n")
    assert facts_of(command("fetch", config, "--yes", "--json"))["bought"] == 10
    assert teacher.paid == 10


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("TEACHER_URL", "http://127.0.0.1:port", "TEACHER_URL: expected a URL such as http://127.0.0.1:8000, got"),
        ("TEACHER_URL", "http://127.0.0.1:8000/a b", "TEACHER_URL: expected a URL such as"),
        ("TEACHER_API_KEY", "tk_1 secret", "TEACHER_API_KEY: expected printable ASCII characters without spaces"),
        ("TEACHER_API_KEY", "tk_1\nsecret", "TEACHER_API_KEY: expected printable ASCII characters without spaces"),
        ("TEACHER_API_KEY_FILE", "/nowhere/key", "TEACHER_API_KEY_FILE: cannot read /nowhere/key"),
        ("TEACHER_API_KEY_FILE", os.devnull, "TEACHER_API_KEY_FILE: expected an API key in the first line of"),
    ],
)
def test_wrong_variable_is_one_clear_sentence(
    command: Command,
    config: Path,
    teacher: FakeTeacher,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    expected: str,
) -> None:
    monkeypatch.delenv("TEACHER_API_KEY", raising=False)
    monkeypatch.setenv(name, value)
    ended = command("fetch", config, "--yes")
    assert ended.status == 2
    assert expected in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "secret" not in ended.stderr
    assert teacher.paid == 0
