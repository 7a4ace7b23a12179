"""A run directory: a run's configuration, progress and result, and the state to resume it from.

    run.json              configuration, teacher, environment
    metrics.jsonl         one line per logged step
    checkpoint.pt         the last checkpoint, until the run is finished
    student.safetensors   the trained student, with its description in the metadata
    result.json           written last: a run with a result is finished

Invariant: a directory belongs to one run; a run with another configuration is rejected.
"""

import fcntl
import json
import pickle
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from distill_worker.config.run_identity import RunIdentity
from distill_worker.errors import RunError
from shared.atomic_file import atomic_replacement, write_atomically


class RunDirectory:
    """An opened run directory. Every failure of the disk is a `RunError`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def opened(self, identity: RunIdentity, *, fresh: bool = False) -> Iterator[None]:
        """Claim the directory for the run that `identity` describes, and lock it until the end.

        Args:
            identity: everything that the result depends on.
            fresh: delete the files of an earlier run first.

        Raises:
            RunError: the directory cannot be written, is in use, or holds another run.
        """
        with self._translated_errors():
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("w")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(
                    f"{self.path}: another process is training in this directory; wait for it, or choose another "
                    "output.directory"
                ) from None
            with self._translated_errors():
                if fresh:
                    self._clear()
                self._claim(identity)
                for name in (".checkpoint.part", ".checkpoint.pt.part"):  # left by a killed process, old or new
                    (self.path / name).unlink(missing_ok=True)
            yield

    def result(self) -> dict[str, Any] | None:
        """The result of a finished run, or None."""
        return self._read_json("result.json")

    def finish(self, weights: bytes, result: Mapping[str, Any]) -> None:
        """Write the student and the result, and delete the checkpoint."""
        with self._translated_errors():
            write_atomically(self.path / "student.safetensors", weights)
            write_atomically(self.path / "result.json", _json(result))
            (self.path / "checkpoint.pt").unlink(missing_ok=True)

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint."""
        with (
            self._translated_errors(),
            atomic_replacement(self.path / "checkpoint.pt") as partial,
            partial.open("wb") as file,
        ):
            torch.save(dict(state), file)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint, on the CPU, or None."""
        path = self.path / "checkpoint.pt"
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise RunError(f"{path}: expected a checkpoint, got a damaged file; delete it to start again") from error
        return state

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl; `metrics` must hold a `step`."""
        with self._translated_errors(), (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")

    def drop_metrics_after(self, step: int) -> None:
        """Drop the metrics of the steps after `step`, which the resumed run takes, and logs, again."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        with self._translated_errors():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
            write_atomically(path, "".join(kept).encode())

    def _claim(self, identity: RunIdentity) -> None:
        stored = self._read_json("run.json")
        if stored is None:
            content = {"identity": identity.values, "environment": _environment()}
            write_atomically(self.path / "run.json", _json(content))
        elif (difference := identity.difference(stored.get("identity"))) is not None:
            raise RunError(
                f"{self.path}: this directory holds another run ({difference}); choose another output.directory, or "
                "delete it"
            )

    def _clear(self) -> None:
        # run.json goes last: the remaining files belong to a named run until none remains.
        for name in ("result.json", "student.safetensors", "checkpoint.pt", "metrics.jsonl", "run.json"):
            (self.path / name).unlink(missing_ok=True)

    def _read_json(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        if not path.exists():
            return None
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: cannot be read ({error}); delete the directory to start again") from error
        return content

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(f"{self.path}: cannot write to it ({error.strerror or error})") from error


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, default=str) + "\n").encode()


def _environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "git": _git_hash(),
    }


def _git_hash() -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    return completed.stdout.strip() or None
