"""A real `teacher-service` in its own process on a free loopback port, while a context is open."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill_worker.errors import TeacherError

_COMMAND = (sys.executable, "-m", "teacher_service")
_STOP_SECONDS = 40


def create_key(
    data_dir: Path, *, name: str, quota: int, key_file: Path, features: bool = False, outputs: str | None = None
) -> None:
    """Create an API key in `key_file` with the service's own command; an existing file is used as it is."""
    options = ["--name", name, "--quota", str(quota), "--key-file", str(key_file), *["--features"] * features]
    options += [] if outputs is None else ["--outputs", outputs]
    _keys(data_dir, "create", *options, expected="a new API key")


def enlarge_quota(data_dir: Path, *, name: str, samples: int) -> None:
    """Add samples, or none, to the quota of the API key of this name, also while the service runs."""
    if not samples:
        return
    listed = json.loads(_keys(data_dir, "list", "--json", expected="a list of API keys"))["keys"]
    key_id = next(key["id"] for key in listed if key["name"] == name)
    _keys(data_dir, "grant", key_id, "--samples", str(samples), expected="a larger quota")


def _keys(data_dir: Path, command: str, *arguments: str, expected: str) -> str:
    """What a command of `teacher-service keys` prints. Raises `TeacherError`."""
    ended = subprocess.run(
        [*_COMMAND, "keys", command, *arguments, "--data-dir", str(data_dir)],
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        raise TeacherError(f"teacher-service keys {command}: expected {expected}, got: {ended.stderr.strip()}")
    return ended.stdout


@contextmanager
def served(weights: Path, data_dir: Path) -> Iterator[str]:
    """Serve a weights file and yield the URL; the log of the service is `service.log` in its data directory.

    The service ends with this process, also if a signal kills it.

    Raises:
        TeacherError: the service did not start; the message contains the end of its log.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir / "service.log"
    with (
        log.open("a") as stderr,
        subprocess.Popen(
            [*_COMMAND, "serve", "--stop-with-input", "--weights", weights, "--data-dir", data_dir, "--port", "0"],
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        try:
            yield _listening(process, log)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _listening(process: "subprocess.Popen[str]", log: Path) -> str:
    url = process.stdout.readline().strip() if process.stdout else ""
    if not url:
        process.wait()
        ending = "\n".join(log.read_text(encoding="utf-8").splitlines()[-3:])
        raise TeacherError(f"the teacher service did not start:\n{ending}")
    return url


def _environment() -> dict[str, str]:
    """The environment without the variables that would configure another teacher."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TEACHER_")}
