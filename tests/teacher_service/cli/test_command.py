"""The `teacher-service` command: results on standard output, errors on standard error, exit 2 for a wrong call."""

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
import structlog
import torch
from typer.testing import CliRunner

from teacher_service.cli.command import app
from teacher_service.database.engine import open_database
from tests.endurance import HANG_SECONDS
from tests.teacher_service.cli.calls import assert_wrong_call, command, keys_command, killed_at_the_end, listed_keys
from tests.teacher_service.ledger_file import rows


@pytest.fixture(autouse=True)
def _logs_of_the_command_end_with_it() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_version_is_that_of_the_package() -> None:
    printed = CliRunner().invoke(app, ["--version"])
    assert (printed.exit_code, printed.stdout) == (0, f"teacher-service {version('tuition')}\n")


def test_service_of_this_machine_says_how_a_container_reaches_it(weights: Path, tmp_path: Path) -> None:
    for host, is_hinted in (("127.0.0.1", True), ("0.0.0.0", False)):
        arguments = ("--weights", str(weights), "--host", host, "--port", "0", "--data-dir", str(tmp_path))
        with killed_at_the_end(command("serve", *arguments)) as process:
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


def test_data_dir_comes_from_the_environment(tmp_path: Path) -> None:
    created = CliRunner().invoke(
        app, ["keys", "create", "--name", "lab", "--quota", "5"], env={"TEACHER_DATA_DIR": str(tmp_path)}
    )
    assert created.exit_code == 0
    assert listed_keys(tmp_path) == [("lab", 5, False)]


def test_data_dir_that_is_no_folder_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert_wrong_call(keys_command(tmp_path / "file", "list"), "the ledger cannot be opened", 3)


def test_failing_ledger_leaves_standard_output_to_results(tmp_path: Path) -> None:
    """Logs go to standard error, or a script would parse one as its result."""
    key_id = json.loads(keys_command(tmp_path, "create", "--name", "lab", "--quota", "5", "--json").stdout)["id"]
    rows(
        tmp_path / "ledger.sqlite",
        "CREATE TRIGGER full BEFORE UPDATE ON api_keys BEGIN SELECT RAISE(ABORT, 'disk full'); END",
    )
    with killed_at_the_end(command("keys", "revoke", key_id, "--data-dir", str(tmp_path))) as process:
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
    with killed_at_the_end(command("keys", "list")) as process:
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
    with killed_at_the_end(command("keys", "list", "--data-dir", str(tmp_path))) as process:
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
    with killed_at_the_end(command("keys", "list", "--data-dir", str(tmp_path), "--json")) as process:
        out, log = process.communicate(timeout=HANG_SECONDS)
    assert (process.returncode, out) == (0, '{"keys": []}\n')
    assert log.count("TEACHER_PORT=tcp://10.0.0.5:8000 is ignored") == 1
    arguments = ("--weights", str(weights), "--port", "0", "--data-dir", str(tmp_path))
    with killed_at_the_end(command("serve", *arguments)) as process:
        assert process.stdout
        address = process.stdout.readline().strip()
        assert httpx.get(f"{address}/v2/health/ready", timeout=HANG_SECONDS).status_code == 200
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 0
    assert "is ignored" not in log


def test_serve_prints_its_address_answers_and_stops_on_sigterm(weights: Path, tmp_path: Path) -> None:
    """The address is the only thing on standard output, and is printed when a client may connect."""
    arguments = ("--weights", str(weights), "--port", "0", "--device", "cpu", "--data-dir", str(tmp_path))
    with killed_at_the_end(command("serve", *arguments)) as process:
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


def test_serve_stops_with_its_input_if_asked_to(weights: Path, tmp_path: Path) -> None:
    """Without the option it serves on: a service that is started in the background often has no input."""
    for options, status in (([], -signal.SIGKILL), (["--stop-with-input"], 0)):
        arguments = [*options, "--weights", str(weights), "--port", "0", "--data-dir", str(tmp_path)]
        with killed_at_the_end(command("serve", *arguments, stdin=subprocess.PIPE)) as process:
            assert process.stdin
            assert process.stdout
            address = process.stdout.readline().strip()
            process.stdin.close()
            if not options:
                assert httpx.get(f"{address}/v2/health/ready", timeout=HANG_SECONDS).json()["ready"]
                process.kill()
            assert process.wait(HANG_SECONDS) == status


def test_serve_under_nohup_outlives_its_terminal(weights: Path, tmp_path: Path) -> None:
    """`nohup` starts it with SIGHUP ignored, and so it stays."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a child process inherits it
    try:
        started = command("serve", "--weights", str(weights), "--port", "0", "--data-dir", str(tmp_path))
    finally:
        signal.signal(signal.SIGHUP, before)
    with killed_at_the_end(started) as process:
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
    with killed_at_the_end(
        command("serve", "--weights", str(tmp_path / "bad"), "--data-dir", str(tmp_path))
    ) as process:
        out, log = process.communicate(timeout=HANG_SECONDS)
    assert (process.returncode, out) == (3, "")
    assert re.search(told, log, re.DOTALL)
    assert "Traceback" not in log
