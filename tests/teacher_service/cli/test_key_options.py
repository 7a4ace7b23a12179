"""`teacher-service keys create` and `change`: every term, and what a wrong one is told."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner, Result

from teacher_service.cli.command import app
from teacher_service.database.engine import ledger_exists, open_database

PLAIN = {
    "holder": "",
    "outputs": "logits",
    **dict.fromkeys(("expires_at", "requests_per_minute", "samples_per_minute", "max_concurrent")),
}
TERMS = (
    *("--holder", "Ada", "--outputs", "top_k:5,probabilities:3,label", "--expires", "2999-01-31T12:00Z"),
    *("--requests-per-minute", "7", "--samples-per-minute", "70", "--max-concurrent", "2"),
)
TOLD = {
    "holder": "Ada",
    "outputs": "probabilities:3,top_k:5,label",
    "expires_at": "2999-01-31T12:00:00+00:00",
    "requests_per_minute": 7,
    "samples_per_minute": 70,
    "max_concurrent": 2,
}


@pytest.fixture(autouse=True)
def _logs_of_the_command_end_with_it() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _on_each_database(ledger_place: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = ledger_place if isinstance(ledger_place, str) else f"sqlite:///{ledger_place}"
    monkeypatch.setenv("TEACHER_DATABASE_URL", place)


def _keys(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments])


def _created(*terms: str) -> str:
    created = _keys("create", "--name", "lab", "--quota", "50", "--json", *terms)
    assert created.exit_code == 0, created.stderr
    key_id: str = json.loads(created.stdout)["id"]
    return key_id


def _terms(key_id: str) -> dict[str, Any]:
    """As `show` and `list` tell them alike."""
    shown = json.loads(_keys("show", key_id, "--json").stdout)
    [listed] = json.loads(_keys("list", "--json").stdout)["keys"]
    assert {name: value for name, value in shown.items() if name != "grants"} == listed
    return {name: listed[name] for name in PLAIN}


def test_key_is_made_on_every_term(tmp_path: Path) -> None:
    """On the terminal and into a file; told to machines and to people."""
    key_id = _created(*TERMS)
    assert _terms(key_id) == TOLD
    assert "samples_per_minute: 70" in _keys("show", key_id).stdout
    filed = _keys("create", "--name", "filed", "--quota", "5", "--key-file", str(tmp_path / "key"), "--json", *TERMS)
    assert TOLD.items() <= json.loads(_keys("show", json.loads(filed.stdout)["id"], "--json").stdout).items()


def test_change_changes_what_is_named_alone() -> None:
    key_id = _created(*TERMS)
    told = dict(TOLD)
    for option, said, field, value in (
        ("--holder", "Grace", "holder", "Grace"),
        ("--outputs", "label", "outputs", "label"),
        ("--expires", "2999-02-01", "expires_at", "2999-02-01T00:00:00+00:00"),
        ("--expires", "never", "expires_at", None),
        ("--requests-per-minute", "8", "requests_per_minute", 8),
        ("--requests-per-minute", "none", "requests_per_minute", None),
        ("--samples-per-minute", "none", "samples_per_minute", None),
        ("--max-concurrent", "none", "max_concurrent", None),
        ("--holder", "", "holder", ""),
    ):
        changed = _keys("change", key_id, option, said, "--json")
        assert changed.exit_code == 0, changed.stderr
        told[field] = value
        assert json.loads(changed.stdout).items() >= told.items()
        assert _terms(key_id) == told


def test_end_may_be_a_time_from_now() -> None:
    expires_at = datetime.fromisoformat(_terms(_created("--expires", "30d"))["expires_at"])
    assert timedelta(days=29, hours=23) < expires_at - datetime.now(UTC) < timedelta(days=30)


def test_features_are_short_for_logits_and_features() -> None:
    assert _terms(_created("--features"))["outputs"] == "logits,features"
    [key] = json.loads(_keys("list", "--json").stdout)["keys"]
    _keys("change", key["id"], "--outputs", "label", "--features")
    assert _terms(key["id"])["outputs"] == "label,features"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--holder", "a\x01"], "holder: expected text without control characters, got 'a\\x01'"),
        (["--holder", "\udcff"], "holder: expected text"),
        (["--outputs", "labels"], "outputs: expected logits, log_probabilities, probabilities[:digits]"),
        (["--outputs", ""], "outputs: expected logits"),
        (["--expires", "soon"], "expires_at: expected an ISO 8601 date"),
        (["--expires", "2020-01-01"], "expires_at: expected a time to come, got '2020-01-01'"),
        (["--requests-per-minute", "many"], "requests_per_minute: expected a whole number, got 'many'"),
        (["--requests-per-minute", "0"], "requests_per_minute: expected at least 1, got 0"),
        (["--samples-per-minute", "-1"], "samples_per_minute: expected at least 1, got -1"),
        (["--samples-per-minute", "9" * 30], "samples_per_minute: expected a whole number, got '9999"),
        (["--max-concurrent", "1.5"], "max_concurrent: expected a whole number, got '1.5'"),
        (["--max-concurrent", "never"], "max_concurrent: expected a whole number, got 'never'"),
    ],
)
@pytest.mark.parametrize("command", ["create", "change"])
def test_wrong_term_is_explained_and_nothing_changes(command: str, arguments: list[str], message: str) -> None:
    key_id = _created(*TERMS)
    before = _keys("list", "--json").stdout
    named = ["change", key_id] if command == "change" else ["create", "--name", "other", "--quota", "5"]
    result = _keys(*named, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"error: {message}" in result.stderr
    assert _keys("list", "--json").stdout == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["change", "nobody", "--holder", "x"], "there is no key 'nobody'"),
        (["change", "no\udcff", "--holder", "x"], "there is no key 'no\\udcff'"),
        (["show", "no_one"], "there is no key 'no_one'"),
        (["revoke", "no\udcff"], "there is no key"),
        (["change", "nobody"], "error: expected at least one of holder, outputs, expires_at"),
        (["create", "--name", "", "--quota", "5"], "name: expected at least 1 character, got ''"),
        (["create", "--name", "x" * 201, "--quota", "5"], "name: expected at most 200 characters"),
        (["grant", "nobody", "--samples", "5", "--reference", "é"], "reference: expected printable ASCII"),
        (["grant", "nobody", "--samples", "5", "--reason", "x" * 201], "reason: expected at most 200 characters"),
    ],
)
def test_wrong_call_is_explained(ledger_place: Path | str, arguments: list[str], message: str) -> None:
    open_database(ledger_place).dispose()
    result = _keys(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_grant_under_a_reference_is_granted_once() -> None:
    key_id = _created()
    grant = ["grant", key_id, "--samples", "7", "--reference", "invoice 5", "--json"]
    first, second = _keys(*grant), _keys(*grant)
    assert json.loads(first.stdout) == json.loads(second.stdout) == {"id": key_id, "limit": 57, "remaining": 57}
    assert "already granted" not in first.stderr
    assert "already granted on 20" in second.stderr
    other = _keys("grant", key_id, "--samples", "8", "--reference", "invoice 5")
    assert (other.exit_code, other.stdout) == (2, "")
    assert "expected the grant of 7 samples (granted) that was made under 'invoice 5'" in other.stderr
    grants = json.loads(_keys("show", key_id, "--json").stdout)["grants"]
    assert [(given["samples"], given["reference"]) for given in grants] == [(50, None), (7, "invoice 5")]


def test_database_without_a_ledger_stays_without_one(ledger_place: Path | str) -> None:
    result = _keys("list")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "expected a ledger, got none" in result.stderr
    assert not ledger_exists(ledger_place)
