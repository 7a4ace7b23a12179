"""A real `teacher-service` in a process of its own, on a free loopback port, for as long as it is needed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill_worker.errors import WorkerError

_COMMAND = (sys.executable, "-m", "teacher_service")
_STOP_SECONDS = 40


def create_key(data_dir: Path, *, name: str, quota: int, key_file: Path, features: bool = False) -> None:
    """Have the service's own command make a key in `key_file`, unless the file is there already."""
    arguments = ("keys", "create", "--name", name, "--quota", str(quota), "--key-file", str(key_file))
    made = subprocess.run(
        [*_COMMAND, *arguments, *(["--features"] if features else []), "--data-dir", str(data_dir)],
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise WorkerError(f"teacher-service keys create failed: {made.stderr.strip()}")


@contextmanager
def served(weights: Path, data_dir: Path) -> Iterator[str]:
    """Serve a weights file; the URL. The service's log is `service.log` in its data directory.

    Raises:
        WorkerError: it did not start; the message holds the end of its log.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir / "service.log"
    with (
        log.open("a") as stderr,
        subprocess.Popen(
            [*_COMMAND, "serve", "--weights", str(weights), "--data-dir", str(data_dir), "--port", "0"],
            env=_environment(),
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
        raise WorkerError(f"the teacher service did not start:\n{ending}")
    return url


def _environment() -> dict[str, str]:
    """Ours, less what would configure another teacher."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TEACHER_")}
