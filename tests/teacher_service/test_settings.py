"""Settings: from the environment or the caller, checked, and frozen."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import SecretStr, ValidationError

from teacher_service.cli.console import read_settings
from teacher_service.settings import Settings


def test_settings_without_environment_are_the_documented_defaults() -> None:
    settings = Settings()
    assert (settings.weights, settings.model_name, settings.device) == (None, "teacher", "auto")
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.ledger == Path("teacher-data/ledger.sqlite")


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - {"host"}))
@pytest.mark.parametrize("value", ["x y", "-1", "1.5", "nan", "[]", "~no-such-user/x", "9" * 30])
def test_no_bad_setting_is_answered_in_the_words_of_pydantic(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is a secret shown."""
    monkeypatch.setenv(f"TEACHER_{name.upper()}", value)
    try:
        read_settings()
    except typer.Exit:
        message = capsys.readouterr().err
        assert message.startswith(f"error: {name}: expected ") or "max_queued_samples" in message
        assert not re.search(r"Input|should|valid|parse", message)
        assert "admin_key" not in message or value not in message


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "TEACHER_WEIGHTS": "/models/a.safetensors",
        "TEACHER_MODEL_NAME": "digits",
        "TEACHER_DATA_DIR": "/data",
        "TEACHER_PORT": "0",
        "TEACHER_DEVICE": "cpu",
        "TEACHER_MAX_BATCH_SIZE": "32",
        "TEACHER_BATCH_TIMEOUT_SECONDS": "0.5",
        "TEACHER_HOST": "",
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.weights, settings.model_name) == (Path("/models/a.safetensors"), "digits")
    assert (settings.port, settings.device) == (0, "cpu")
    assert (settings.max_batch_size, settings.batch_timeout_seconds) == (32, 0.5)
    assert settings.ledger == Path("/data/ledger.sqlite")
    assert settings.host == "127.0.0.1", "an empty variable counts as none"


@pytest.mark.parametrize("link", ["tcp://10.0.0.5:8000", "udp://10.0.0.5:53", "tcp://[fd00::1]:8000", ""])
def test_port_that_kubernetes_sets_for_a_service_of_this_name_is_the_default(
    link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so in every pod, whether it is wanted there or not."""
    for name, value in {
        "TEACHER_PORT": link,
        "TEACHER_SERVICE_HOST": "10.0.0.5",
        "TEACHER_SERVICE_PORT": "8000",
        "TEACHER_SERVICE_PORT_HTTP": "8000",
        "TEACHER_PORT_8000_TCP": "tcp://10.0.0.5:8000",
        "TEACHER_PORT_8000_TCP_PROTO": "tcp",
        "TEACHER_PORT_8000_TCP_PORT": "8000",
        "TEACHER_PORT_8000_TCP_ADDR": "10.0.0.5",
    }.items():
        monkeypatch.setenv(name, value)
    assert Settings().port == 8000
    assert Settings(port=1234).port == 1234


def test_what_is_passed_in_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_PORT", "9000")
    assert Settings(port=1234).port == 1234


def test_database_url_wins_over_the_data_dir() -> None:
    for url in ("sqlite:///other/file.sqlite", "postgresql://teacher:secret@db/ledger"):
        assert Settings(database_url=url).ledger == url


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70_000},
        {"port": -1},
        {"device": "tpu"},
        {"model_name": "a/b"},
        {"model_name": ""},
        {"model_name": "x" * 65},
        {"max_batch_size": 0},
        {"max_queued_samples": 0},
        {"batch_timeout_seconds": -0.1},
        {"max_body_bytes": 10},
        {"database_url": "mysql://host/ledger"},
        {"database_url": "postgresql://host:port/ledger"},
        {"database_url": "postgresql://host/"},
        {"database_url": "sqlite://"},
        {"database_url": "sqlite:///"},
        {"database_url": "sqlite:///:memory:"},
    ],
    ids=str,
)
def test_setting_out_of_range_is_refused_by_name(wrong: dict[str, Any]) -> None:
    """An in-memory ledger would forget what was charged: it is refused like any other bad value."""
    with pytest.raises(ValidationError) as refused:
        Settings(**wrong)
    assert [error["loc"] for error in refused.value.errors()] == [(next(iter(wrong)),)]


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("admin_key", "a-key-of-the-operators", "a-key-of-the-operators"),
        ("metrics_key", "a-key-of-the-operators", "a-key-of-the-operators"),
        ("data_dir", "/data", Path("/data")),
        ("weights", "/data/teacher.safetensors", Path("/data/teacher.safetensors")),
        ("database_url", "postgresql://teacher:secret@db/ledger", "postgresql://teacher:secret@db/ledger"),
        ("database_url", "sqlite:////data/ledger.sqlite", "sqlite:////data/ledger.sqlite"),
        ("port", "9000", 9000),
        ("model_name", "teacher", "teacher"),
        ("log_format", "json", "json"),
    ],
)
def test_white_space_around_a_setting_is_no_part_of_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: object
) -> None:
    """A secret that is mounted as a file often ends with a newline, which no request could repeat."""
    monkeypatch.setenv(f"TEACHER_{name.upper()}", f" {value}\n")
    setting = getattr(Settings(), name)
    assert (setting.get_secret_value() if isinstance(setting, SecretStr) else setting) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("port", "http", "port: expected a whole number, got 'http'"),
        ("log_format", "xml", "log_format: expected 'logfmt' or 'json', got 'xml'"),
        ("drain_seconds", "soon", "drain_seconds: expected a number, got 'soon'"),
        ("weights", "~no-such-user/x", "weights: expected ~ or the name of a user after it, got '~no-such-user/x'"),
    ],
)
def test_wrong_setting_is_one_plain_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(f"TEACHER_{name.upper()}", value)
    with pytest.raises(typer.Exit):
        read_settings()
    assert capsys.readouterr().err == f"error: {expected}\n"


def test_database_url_that_may_be_a_password_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEACHER_DATABASE_URL", "user:hunter2@host/ledger")
    with pytest.raises(typer.Exit):
        read_settings()
    message = capsys.readouterr().err
    assert message.endswith("got a text that is not shown, as it may have a password\n")
    assert "hunter2" not in message
