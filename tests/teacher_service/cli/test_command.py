"""The `teacher-service` command: results on standard output, errors on standard error, exit 2 for a wrong call."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
import structlog
import torch
from typer.testing import CliRunner, Result

from teacher_service.cli.command import app
from teacher_service.database.engine import open_database
from teacher_service.errors.service_errors import Unauthorized
from tests.endurance import HANG_SECONDS
from tests.teacher_service.ledger_file import open_books, rows


@pytest.fixture(autouse=True)
def _logs_of_the_command_end_with_it() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def _keys(data_dir: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments, "--data-dir", str(data_dir)])


def test_wrong_option_is_explained_as_a_setting_is(tmp_path: Path) -> None:
    ended = _keys(tmp_path, "create", "--name", "a", "--quota", "abc")
    assert ended.exit_code == 2
    assert "Invalid value for '--quota': expected a whole number, got 'abc'" in ended.stderr


def _listed(data_dir: Path) -> list[tuple[str, int, bool]]:
    listed = _keys(data_dir, "list", "--json")
    assert listed.exit_code == 0
    return [(key["name"], key["limit"], key["revoked"]) for key in json.loads(listed.stdout)["keys"]]


def _assert_wrong_call(result: Result, message: str, status: int = 2) -> None:
    assert (result.exit_code, result.stdout) == (status, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_create_prints_the_key_once_and_stores_its_hash(tmp_path: Path) -> None:
    created = _keys(tmp_path, "create", "--name", "lab", "--quota", "50", "--json")
    assert created.exit_code == 0
    shown = json.loads(created.stdout)
    assert shown.keys() == {"id", "key"}
    assert re.fullmatch(rf"tk_{shown['id']}_[0-9a-f]{{64}}", shown["key"])
    assert shown["key"] not in _keys(tmp_path, "list", "--json").stdout
    assert _listed(tmp_path) == [("lab", 50, False)]


def test_create_prints_lines_for_people(tmp_path: Path) -> None:
    created = _keys(tmp_path, "create", "--name", "lab", "--quota", "0")
    assert created.exit_code == 0
    assert re.fullmatch(r"id: [0-9a-f]{12}\nkey: tk_[0-9a-f_]+\n", created.stdout)


def test_list_shows_numbers_as_they_are_in_the_ledger(tmp_path: Path) -> None:
    key_id = json.loads(_keys(tmp_path, "create", "--name", "lab", "--quota", "50", "--json").stdout)["id"]
    rows(tmp_path / "ledger.sqlite", "UPDATE api_keys SET used = 7, reserved = 2")
    facts = {"id": key_id, "name": "lab", "limit": 50, "used": 7, "reserved": 2, "remaining": 41}
    facts |= {"in_flight": 0, "holder": "", "outputs": "logits", "revoked": False}
    facts |= dict.fromkeys(("expires_at", "requests_per_minute", "samples_per_minute", "max_concurrent"))
    assert json.loads(_keys(tmp_path, "list", "--json").stdout) == {"keys": [facts]}
    assert "lab" in _keys(tmp_path, "list").stdout


def test_key_that_may_see_features_is_listed_as_such(tmp_path: Path) -> None:
    """Made on the terminal or into a file; for machines and for people."""
    _keys(tmp_path, "create", "--name", "seeing", "--quota", "5", "--features")
    _keys(tmp_path, "create", "--name", "filed", "--quota", "5", "--features", "--key-file", str(tmp_path / "key"))
    _keys(tmp_path, "create", "--name", "plain", "--quota", "5")
    listed = json.loads(_keys(tmp_path, "list", "--json").stdout)["keys"]
    assert {key["name"]: key["outputs"] for key in listed} == {
        "seeing": "logits,features",
        "filed": "logits,features",
        "plain": "logits",
    }
    assert "outputs" in _keys(tmp_path, "list").stdout


def test_list_of_an_empty_ledger_says_what_to_do(tmp_path: Path) -> None:
    open_database(tmp_path / "ledger.sqlite").dispose()
    assert "no keys yet" in _keys(tmp_path, "list").stdout
    assert _listed(tmp_path) == []


def test_key_file_is_private_and_holds_the_key(tmp_path: Path) -> None:
    """The key is in the file alone; a second call changes nothing, so that a start-up script may repeat it."""
    key_file = tmp_path / "secrets" / "key"
    arguments = ("create", "--name", "lab", "--quota", "5", "--key-file", str(key_file), "--json")
    created = _keys(tmp_path, *arguments)
    assert created.exit_code == 0
    token = key_file.read_text().strip()
    assert json.loads(created.stdout) == {"id": token.split("_")[1], "key_file": str(key_file)}
    assert key_file.stat().st_mode & 0o777 == 0o600
    again = _keys(tmp_path, *arguments)
    assert (again.exit_code, again.stdout) == (0, "")
    assert key_file.read_text().strip() == token
    assert _listed(tmp_path) == [("lab", 5, False)]


def test_key_whose_file_cannot_be_written_is_not_created(tmp_path: Path) -> None:
    """Else its quota is given to a key that nobody has seen, and the name is taken."""
    (tmp_path / "file").write_text("in the way")
    arguments = ("create", "--name", "lab", "--quota", "5", "--key-file", str(tmp_path / "file" / "key"))
    _assert_wrong_call(_keys(tmp_path, *arguments), "key", 3)
    assert _listed(tmp_path) == []


def test_name_in_use_is_refused(tmp_path: Path) -> None:
    _keys(tmp_path, "create", "--name", "lab", "--quota", "5")
    _assert_wrong_call(_keys(tmp_path, "create", "--name", "lab", "--quota", "9"), "'lab' exists")
    assert _listed(tmp_path) == [("lab", 5, False)]


def test_revoke_refuses_the_key_and_keeps_it_listed(tmp_path: Path) -> None:
    key_id = json.loads(_keys(tmp_path, "create", "--name", "lab", "--quota", "5", "--json").stdout)["id"]
    for _ in range(2):
        revoked = _keys(tmp_path, "revoke", key_id)
        assert (revoked.exit_code, revoked.stdout) == (0, f"revoked {key_id}\n")
    assert _listed(tmp_path) == [("lab", 5, True)]


def test_grant_and_its_reason_are_shown_with_the_key(tmp_path: Path) -> None:
    key_id = json.loads(_keys(tmp_path, "create", "--name", "lab", "--quota", "5", "--json").stdout)["id"]
    granted = _keys(tmp_path, "grant", key_id, "--samples", "7", "--reason", "second term", "--json")
    assert json.loads(granted.stdout) == {"id": key_id, "limit": 12, "remaining": 12}
    shown = json.loads(_keys(tmp_path, "show", key_id, "--json").stdout)
    assert (shown["name"], shown["limit"], shown["remaining"], shown["revoked"]) == ("lab", 12, 12, False)
    assert [(grant["samples"], grant["reason"]) for grant in shown["grants"]] == [(5, "created"), (7, "second term")]
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", grant["at"]) for grant in shown["grants"])
    text = _keys(tmp_path, "show", key_id).stdout
    assert "limit: 12" in text
    assert "second term" in text


def test_rotated_key_is_printed_once_and_the_old_one_refused(tmp_path: Path) -> None:
    old = json.loads(_keys(tmp_path, "create", "--name", "lab", "--quota", "5", "--json").stdout)
    new = json.loads(_keys(tmp_path, "rotate", old["id"], "--json").stdout)
    assert new["id"] == old["id"]
    with open_books(tmp_path / "ledger.sqlite") as books:
        assert books.keys.authenticate(new["key"]).limit == 5
        with pytest.raises(Unauthorized):
            books.keys.authenticate(old["key"])


def test_list_never_cuts_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However narrow the terminal, and however long the names: it is there to be copied."""
    names = ("lab", "the lab of [bold]Alice[/bold] on the second floor")
    ids = [
        json.loads(_keys(tmp_path, "create", "--name", name, "--quota", "5", "--json").stdout)["id"] for name in names
    ]
    for columns, is_terminal in (("40", False), ("80", False), ("80", True)):
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setenv("TTY_COMPATIBLE", str(int(is_terminal)))
        printed = _keys(tmp_path, "list").stdout
        assert all(key_id in printed for key_id in ids)
        if is_terminal:
            assert all(len(line) <= int(columns) for line in re.sub(r"\x1b\[[\d;]*m", "", printed).splitlines())
        else:
            assert names[1] in printed


@pytest.mark.parametrize("arguments", [("revoke",), ("show",), ("rotate",), ("grant", "--samples", "5")])
def test_naming_an_unknown_key_is_a_wrong_call(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    open_database(tmp_path / "ledger.sqlite").dispose()
    _assert_wrong_call(_keys(tmp_path, *arguments, "nobody"), "there is no key 'nobody'")


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
    result = _keys(folder, *arguments)
    _assert_wrong_call(result, f"error: {folder}/ledger.sqlite: expected a ledger, got none", 3)
    assert result.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_first_key_says_that_it_creates_the_ledger(tmp_path: Path) -> None:
    note = f"{tmp_path}/ledger.sqlite: a new ledger was created\n"
    assert _keys(tmp_path, "create", "--name", "lab", "--quota", "5", "--json").stderr == note
    assert _keys(tmp_path, "create", "--name", "other", "--quota", "5", "--json").stderr == ""


def test_create_says_what_to_do_next(tmp_path: Path) -> None:
    """How to serve on this ledger, and how the client uses the key; a script that reads JSON gets nothing more."""
    printed = _keys(tmp_path, "create", "--name", "lab", "--quota", "5")
    secret = printed.stdout.split()[-1]
    assert f"teacher-service serve --weights teacher.safetensors --data-dir {tmp_path}\n" in printed.stderr
    assert "export TEACHER_API_KEY=" in printed.stderr
    assert "/v1/quota" in printed.stderr
    assert secret not in printed.stderr
    file = tmp_path / "a key"
    filed = _keys(tmp_path, "create", "--name", "filed", "--quota", "5", "--key-file", str(file))
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
        json.loads(_keys(tmp_path, "create", "--name", name, "--quota", "5", "--json").stdout)["id"]
        for name in ("lab", "Alice's lab, übung", "lab 2")
    ]
    done = _keys(tmp_path, *arguments, "Alice's lab, übung")
    assert done.exit_code == 0, done.stderr
    assert made[1] in done.stdout
    by_id = _keys(tmp_path, "show", made[0])
    assert (by_id.exit_code, "name: lab\n" in by_id.stdout) == (0, True)


def test_text_that_is_one_keys_id_and_anothers_name_is_an_error(tmp_path: Path) -> None:
    """Else the wrong key would be revoked."""
    first = json.loads(_keys(tmp_path, "create", "--name", "lab", "--quota", "5", "--json").stdout)["id"]
    second = json.loads(_keys(tmp_path, "create", "--name", first, "--quota", "5", "--json").stdout)["id"]
    _assert_wrong_call(_keys(tmp_path, "revoke", first), "is the id of one and the name of another")
    assert _keys(tmp_path, "revoke", second).exit_code == 0
    assert _listed(tmp_path) == [("lab", 5, False), (first, 5, True)]


def test_version_is_that_of_the_package() -> None:
    printed = CliRunner().invoke(app, ["--version"])
    assert (printed.exit_code, printed.stdout) == (0, f"teacher-service {version('tuition')}\n")


def test_service_of_this_machine_says_how_a_container_reaches_it(weights: Path, tmp_path: Path) -> None:
    for host, is_hinted in (("127.0.0.1", True), ("0.0.0.0", False)):
        arguments = ("--weights", str(weights), "--host", host, "--port", "0", "--data-dir", str(tmp_path))
        with _killed_at_the_end(_command("serve", *arguments)) as process:
            assert process.stdout
            port = process.stdout.readline().strip().rpartition(":")[2]
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=HANG_SECONDS)
        assert (f"--host 0.0.0.0, at http://host.docker.internal:{port}" in log) == is_hinted


@pytest.mark.parametrize(
    "arguments",
    [
        ["keys", "create", "--name", "lab"],
        ["keys", "create", "--name", "lab", "--quota", "-1"],
        ["keys", "create", "--name", "lab", "--quota", "many"],
        ["keys", "create", "--name", "lab", "--quota", str(10**15)],
        ["keys", "revoke"],
        ["keys", "grant", "k", "--samples", "0"],
        ["keys", "grant", "k", "--samples", "5", "--reason", ""],
        ["keys", "burn"],
        ["serve", "--port", "70000"],
        ["serve", "--device", "tpu"],
        ["serve"],
    ],
    ids=" ".join,
)
def test_wrong_call_exits_with_2_and_an_empty_standard_output(tmp_path: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments, env={"TEACHER_DATA_DIR": str(tmp_path)})
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr
    assert list(tmp_path.iterdir()) == []


def test_largest_quota_is_the_largest_integer_of_a_structured_field(tmp_path: Path) -> None:
    """The RateLimit headers must say it: at most 15 digits (RFC 9651, section 3.3.1); one more is a wrong call."""
    assert _keys(tmp_path, "create", "--name", "lab", "--quota", str(10**15 - 1)).exit_code == 0


def test_data_dir_comes_from_the_environment(tmp_path: Path) -> None:
    created = CliRunner().invoke(
        app, ["keys", "create", "--name", "lab", "--quota", "5"], env={"TEACHER_DATA_DIR": str(tmp_path)}
    )
    assert created.exit_code == 0
    assert _listed(tmp_path) == [("lab", 5, False)]


def test_data_dir_that_is_no_folder_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    _assert_wrong_call(_keys(tmp_path / "file", "list"), "the ledger cannot be opened", 3)


def test_failing_ledger_leaves_standard_output_to_results(tmp_path: Path) -> None:
    """Logs go to standard error, or a script would parse one as its result."""
    key_id = json.loads(_keys(tmp_path, "create", "--name", "lab", "--quota", "5", "--json").stdout)["id"]
    rows(
        tmp_path / "ledger.sqlite",
        "CREATE TRIGGER full BEFORE UPDATE ON api_keys BEGIN SELECT RAISE(ABORT, 'disk full'); END",
    )
    with _killed_at_the_end(_command("keys", "revoke", key_id, "--data-dir", str(tmp_path))) as process:
        out, log = process.communicate(timeout=HANG_SECONDS)
    assert (process.returncode, out) == (3, "")
    assert "ledger cannot be written" in log


@pytest.mark.parametrize(
    ("status", "place", "told"),
    [
        (2, "host:port/ledger", "expected the URL of"),
        (3, "127.0.0.1:1/ledger", "Connection refused.* check that the server runs"),
    ],
)
def test_ledger_that_cannot_be_reached_is_named_without_its_password(
    status: int, place: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_DATABASE_URL", f"postgresql://teacher:sesame@{place}")
    with _killed_at_the_end(_command("keys", "list")) as process:
        out, log = process.communicate(timeout=HANG_SECONDS)
    assert (process.returncode, out) == (status, "")
    assert re.search(told, log)
    assert "Traceback" not in log
    assert "***" in log
    assert "sesame" not in log


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TEACHER_ADMIN_KEY": "sesame"}, "admin_key: .*at least 16 characters"),
        ({"TEACHER_METRICS_KEY": "sesame"}, "metrics_key: .*at least 16 characters"),
        ({"TEACHER_ADMIN_KEY": "sesame, open yourself", "TEACHER_MAX_QUEUED_SAMPLES": "1"}, "max_queued_samples: "),
        ({"TEACHER_DATABASE_URL": "postgresql://teacher:sesame@x@host/ledger"}, "expected one @"),
        ({"TEACHER_DATABASE_URL": "postgresql://teacher:a/sesame@host/ledger"}, "/ as %2F"),
        ({"TEACHER_DATABASE_URL": "sesame"}, "expected the URL of"),
    ],
)
def test_wrong_setting_is_named_and_no_secret_is_shown(
    variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with _killed_at_the_end(_command("keys", "list", "--data-dir", str(tmp_path))) as process:
        out, log = process.communicate(timeout=HANG_SECONDS)
    assert (process.returncode, out) == (2, "")
    assert re.search(message, log)
    assert "sesame" not in log
    assert "Traceback" not in log


def test_keys_and_serve_start_beside_a_kubernetes_service_of_this_name(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its variables are ignored, which is said once; without effect where the port is chosen."""
    open_database(tmp_path / "ledger.sqlite").dispose()
    monkeypatch.setenv("TEACHER_PORT", "tcp://10.0.0.5:8000")
    with _killed_at_the_end(_command("keys", "list", "--data-dir", str(tmp_path), "--json")) as process:
        out, log = process.communicate(timeout=HANG_SECONDS)
    assert (process.returncode, out) == (0, '{"keys": []}\n')
    assert log.count("TEACHER_PORT=tcp://10.0.0.5:8000 is ignored") == 1
    arguments = ("--weights", str(weights), "--port", "0", "--data-dir", str(tmp_path))
    with _killed_at_the_end(_command("serve", *arguments)) as process:
        assert process.stdout
        address = process.stdout.readline().strip()
        assert httpx.get(f"{address}/v2/health/ready", timeout=HANG_SECONDS).status_code == 200
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 0
    assert "is ignored" not in log


def _command(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "teacher_service", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@contextmanager
def _killed_at_the_end(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_serve_prints_its_address_answers_and_stops_on_sigterm(weights: Path, tmp_path: Path) -> None:
    """The address is the only thing on standard output, and is printed when a client may connect."""
    arguments = ("--weights", str(weights), "--port", "0", "--device", "cpu", "--data-dir", str(tmp_path))
    with _killed_at_the_end(_command("serve", *arguments)) as process:
        assert process.stdout
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
        assert httpx.get(f"{address}/v2/health/ready", timeout=HANG_SECONDS).json() == {"live": True, "ready": True}
        process.send_signal(signal.SIGTERM)
        rest, log = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 0
    assert rest == ""
    assert "event=serving" in log
    assert f"event=ledger_created ledger={tmp_path}/ledger.sqlite" in log
    assert "Traceback" not in log
    assert list((tmp_path / "ledger.sqlite.instances").iterdir()) == []


def test_serve_under_nohup_outlives_its_terminal(weights: Path, tmp_path: Path) -> None:
    """`nohup` starts it with SIGHUP ignored, and so it stays."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a child process inherits it
    try:
        started = _command("serve", "--weights", str(weights), "--port", "0", "--data-dir", str(tmp_path))
    finally:
        signal.signal(signal.SIGHUP, before)
    with _killed_at_the_end(started) as process:
        assert process.stdout
        address = process.stdout.readline().strip()
        process.send_signal(signal.SIGHUP)
        ready = httpx.get(f"{address}/v2/health/ready", timeout=HANG_SECONDS)
        assert ready.json() == {"live": True, "ready": True}
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 0
    assert log.count("event=draining") == 1


@pytest.mark.parametrize(
    ("save", "told"),
    [
        (lambda path: path.write_text("not safetensors"), "expected the file of a model, got a file of another kind"),
        (lambda path: torch.save({}, path), r"got a pickled file of PyTorch .*teacher-service pack .*--state-dict "),
    ],
)
def test_serve_refuses_a_file_that_it_cannot_serve(save: Callable[[Path], object], told: str, tmp_path: Path) -> None:
    save(tmp_path / "bad")
    with _killed_at_the_end(
        _command("serve", "--weights", str(tmp_path / "bad"), "--data-dir", str(tmp_path))
    ) as process:
        out, log = process.communicate(timeout=HANG_SECONDS)
    assert (process.returncode, out) == (3, "")
    assert re.search(told, log, re.DOTALL)
    assert "Traceback" not in log
