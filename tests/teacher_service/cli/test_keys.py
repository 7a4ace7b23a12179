"""`teacher-service keys`: what it prints, and what is in the ledger then."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from teacher_service.database.engine import open_database
from teacher_service.errors.service_errors import Unauthorized
from tests.teacher_service.cli.calls import assert_wrong_call, keys_command, listed_keys
from tests.teacher_service.ledger_file import open_books, rows


@pytest.fixture(autouse=True)
def _logs_of_the_command_end_with_it() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_wrong_option_is_explained_as_a_setting_is(tmp_path: Path) -> None:
    ended = keys_command(tmp_path, "create", "--name", "a", "--quota", "abc")
    assert ended.exit_code == 2
    assert "Invalid value for '--quota': expected a whole number, got 'abc'" in ended.stderr


def test_create_prints_the_key_once_and_stores_its_hash(tmp_path: Path) -> None:
    created = keys_command(tmp_path, "create", "--name", "lab", "--quota", "50", "--json")
    assert created.exit_code == 0
    shown = json.loads(created.stdout)
    assert shown.keys() == {"id", "key"}
    assert re.fullmatch(rf"tk_{shown['id']}_[0-9a-f]{{64}}", shown["key"])
    assert shown["key"] not in keys_command(tmp_path, "list", "--json").stdout
    assert listed_keys(tmp_path) == [("lab", 50, False)]


def test_create_prints_lines_for_people(tmp_path: Path) -> None:
    created = keys_command(tmp_path, "create", "--name", "lab", "--quota", "0")
    assert created.exit_code == 0
    assert re.fullmatch(r"id: [0-9a-f]{12}\nkey: tk_[0-9a-f_]+\n", created.stdout)


def test_list_shows_numbers_as_they_are_in_the_ledger(tmp_path: Path) -> None:
    key_id = json.loads(keys_command(tmp_path, "create", "--name", "lab", "--quota", "50", "--json").stdout)["id"]
    rows(tmp_path / "ledger.sqlite", "UPDATE api_keys SET used = 7, reserved = 2")
    facts = {"id": key_id, "name": "lab", "limit": 50, "used": 7, "reserved": 2, "remaining": 41}
    facts |= {"in_flight": 0, "holder": "", "outputs": "logits", "revoked": False}
    facts |= dict.fromkeys(("expires_at", "requests_per_minute", "samples_per_minute", "max_concurrent"))
    assert json.loads(keys_command(tmp_path, "list", "--json").stdout) == {"keys": [facts]}
    assert "lab" in keys_command(tmp_path, "list").stdout


def test_key_that_may_see_features_is_listed_as_such(tmp_path: Path) -> None:
    """Made on the terminal or into a file; for machines and for people."""
    keys_command(tmp_path, "create", "--name", "seeing", "--quota", "5", "--features")
    keys_command(
        tmp_path, "create", "--name", "filed", "--quota", "5", "--features", "--key-file", str(tmp_path / "key")
    )
    keys_command(tmp_path, "create", "--name", "plain", "--quota", "5")
    listed = json.loads(keys_command(tmp_path, "list", "--json").stdout)["keys"]
    assert {key["name"]: key["outputs"] for key in listed} == {
        "seeing": "logits,features",
        "filed": "logits,features",
        "plain": "logits",
    }
    assert "outputs" in keys_command(tmp_path, "list").stdout


def test_list_of_an_empty_ledger_says_what_to_do(tmp_path: Path) -> None:
    open_database(tmp_path / "ledger.sqlite").dispose()
    assert "no keys yet" in keys_command(tmp_path, "list").stdout
    assert listed_keys(tmp_path) == []


def test_key_file_is_private_and_holds_the_key(tmp_path: Path) -> None:
    """The key is in the file alone; a second call changes nothing, so that a start-up script may repeat it."""
    key_file = tmp_path / "secrets" / "key"
    arguments = ("create", "--name", "lab", "--quota", "5", "--key-file", str(key_file), "--json")
    created = keys_command(tmp_path, *arguments)
    assert created.exit_code == 0
    token = key_file.read_text().strip()
    assert json.loads(created.stdout) == {"id": token.split("_")[1], "key_file": str(key_file)}
    assert key_file.stat().st_mode & 0o777 == 0o600
    again = keys_command(tmp_path, *arguments)
    assert (again.exit_code, again.stdout) == (0, "")
    assert key_file.read_text().strip() == token
    assert listed_keys(tmp_path) == [("lab", 5, False)]


def test_key_whose_file_cannot_be_written_is_not_created(tmp_path: Path) -> None:
    """Else its quota is given to a key that nobody has seen, and the name is taken."""
    (tmp_path / "file").write_text("in the way")
    arguments = ("create", "--name", "lab", "--quota", "5", "--key-file", str(tmp_path / "file" / "key"))
    assert_wrong_call(keys_command(tmp_path, *arguments), "key", 3)
    assert listed_keys(tmp_path) == []


def test_name_in_use_is_refused(tmp_path: Path) -> None:
    keys_command(tmp_path, "create", "--name", "lab", "--quota", "5")
    assert_wrong_call(keys_command(tmp_path, "create", "--name", "lab", "--quota", "9"), "'lab' exists")
    assert listed_keys(tmp_path) == [("lab", 5, False)]


def test_revoke_refuses_the_key_and_keeps_it_listed(tmp_path: Path) -> None:
    key_id = json.loads(keys_command(tmp_path, "create", "--name", "lab", "--quota", "5", "--json").stdout)["id"]
    for _ in range(2):
        revoked = keys_command(tmp_path, "revoke", key_id)
        assert (revoked.exit_code, revoked.stdout) == (0, f"revoked {key_id}\n")
    assert listed_keys(tmp_path) == [("lab", 5, True)]


def test_grant_and_its_reason_are_shown_with_the_key(tmp_path: Path) -> None:
    key_id = json.loads(keys_command(tmp_path, "create", "--name", "lab", "--quota", "5", "--json").stdout)["id"]
    granted = keys_command(tmp_path, "grant", key_id, "--samples", "7", "--reason", "second term", "--json")
    assert json.loads(granted.stdout) == {"id": key_id, "limit": 12, "remaining": 12}
    shown = json.loads(keys_command(tmp_path, "show", key_id, "--json").stdout)
    assert (shown["name"], shown["limit"], shown["remaining"], shown["revoked"]) == ("lab", 12, 12, False)
    assert [(grant["samples"], grant["reason"]) for grant in shown["grants"]] == [(5, "created"), (7, "second term")]
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", grant["at"]) for grant in shown["grants"])
    text = keys_command(tmp_path, "show", key_id).stdout
    assert "limit: 12" in text
    assert "second term" in text


def test_rotated_key_is_printed_once_and_the_old_one_refused(tmp_path: Path) -> None:
    old = json.loads(keys_command(tmp_path, "create", "--name", "lab", "--quota", "5", "--json").stdout)
    new = json.loads(keys_command(tmp_path, "rotate", old["id"], "--json").stdout)
    assert new["id"] == old["id"]
    with open_books(tmp_path / "ledger.sqlite") as books:
        assert books.keys.authenticate(new["key"]).limit == 5
        with pytest.raises(Unauthorized):
            books.keys.authenticate(old["key"])


def test_list_never_cuts_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However narrow the terminal, and however long the names: it is there to be copied."""
    names = ("lab", "the lab of [bold]Alice[/bold] on the second floor")
    ids = [
        json.loads(keys_command(tmp_path, "create", "--name", name, "--quota", "5", "--json").stdout)["id"]
        for name in names
    ]
    for columns, is_terminal in (("40", False), ("80", False), ("80", True)):
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setenv("TTY_COMPATIBLE", str(int(is_terminal)))
        printed = keys_command(tmp_path, "list").stdout
        assert all(key_id in printed for key_id in ids)
        if is_terminal:
            assert all(len(line) <= int(columns) for line in re.sub(r"\x1b\[[\d;]*m", "", printed).splitlines())
        else:
            assert names[1] in printed


@pytest.mark.parametrize("arguments", [("revoke",), ("show",), ("rotate",), ("grant", "--samples", "5")])
def test_naming_an_unknown_key_is_a_wrong_call(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    open_database(tmp_path / "ledger.sqlite").dispose()
    assert_wrong_call(keys_command(tmp_path, *arguments, "nobody"), "there is no key 'nobody'")


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("show", "key"),
        ("grant", "key", "--samples", "5"),
        ("change", "key", "--holder", "x"),
        ("rotate", "key"),
        ("revoke", "key"),
    ],
)
@pytest.mark.parametrize("exists", [None, "folder", "empty file"])
def test_mistyped_folder_becomes_no_ledger(tmp_path: Path, arguments: tuple[str, ...], exists: str | None) -> None:
    """Else the keys would seem to be gone."""
    folder = tmp_path / "mistyped"
    if exists is not None:
        folder.mkdir()
    if exists == "empty file":
        (folder / "ledger.sqlite").touch()
    before = sorted(tmp_path.rglob("*"))
    result = keys_command(folder, *arguments)
    assert_wrong_call(result, f"error: {folder}/ledger.sqlite: expected a ledger, got none", 3)
    assert result.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_first_key_says_that_it_creates_the_ledger(tmp_path: Path) -> None:
    note = f"{tmp_path}/ledger.sqlite: a new ledger was created\n"
    assert keys_command(tmp_path, "create", "--name", "lab", "--quota", "5", "--json").stderr == note
    assert keys_command(tmp_path, "create", "--name", "other", "--quota", "5", "--json").stderr == ""


def test_create_says_what_to_do_next(tmp_path: Path) -> None:
    """How to serve on this ledger, and how the client uses the key; a script that reads JSON gets nothing more."""
    printed = keys_command(tmp_path, "create", "--name", "lab", "--quota", "5")
    secret = printed.stdout.split()[-1]
    assert f"teacher-service serve --weights teacher.safetensors --data-dir {tmp_path}\n" in printed.stderr
    assert "export TEACHER_API_KEY=" in printed.stderr
    assert "/v1/quota" in printed.stderr
    assert secret not in printed.stderr
    file = tmp_path / "a key"
    filed = keys_command(tmp_path, "create", "--name", "filed", "--quota", "5", "--key-file", str(file))
    assert f"export TEACHER_API_KEY=$(cat '{file}')" in filed.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("show",),
        ("grant", "--samples", "5"),
        ("change", "--holder", "x"),
        ("rotate",),
        ("revoke",),
    ],
)
def test_name_stands_for_the_key_that_has_it(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Whatever characters it has, and beside other keys."""
    made = [
        json.loads(keys_command(tmp_path, "create", "--name", name, "--quota", "5", "--json").stdout)["id"]
        for name in ("lab", "Alice's lab, übung", "lab 2")
    ]
    done = keys_command(tmp_path, *arguments, "Alice's lab, übung")
    assert done.exit_code == 0, done.stderr
    assert made[1] in done.stdout
    by_id = keys_command(tmp_path, "show", made[0])
    assert (by_id.exit_code, "name: lab\n" in by_id.stdout) == (0, True)


def test_text_that_is_one_keys_id_and_anothers_name_is_an_error(tmp_path: Path) -> None:
    """Else the wrong key would be revoked."""
    first = json.loads(keys_command(tmp_path, "create", "--name", "lab", "--quota", "5", "--json").stdout)["id"]
    second = json.loads(keys_command(tmp_path, "create", "--name", first, "--quota", "5", "--json").stdout)["id"]
    assert_wrong_call(keys_command(tmp_path, "revoke", first), "is the id of one and the name of another")
    assert keys_command(tmp_path, "revoke", second).exit_code == 0
    assert listed_keys(tmp_path) == [("lab", 5, False), (first, 5, True)]


def test_largest_quota_is_the_largest_integer_of_a_structured_field(tmp_path: Path) -> None:
    """The RateLimit headers must say it: at most 15 digits (RFC 9651, section 3.3.1); one more is a wrong call."""
    assert keys_command(tmp_path, "create", "--name", "lab", "--quota", str(10**15 - 1)).exit_code == 0
