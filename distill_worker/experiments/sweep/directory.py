"""The directory of a sweep, which several processes, or machines on one file system, share.

sweep.json          the grid: settings, axes, and every student with its id
results/<id>.json   the result of a student that is trained; written once, atomically
failed/<id>.json    why the training of a student failed
students/<id>/      the run directory of a student; the lock in it is the lease of the process that trains it
sources/<id>.json   a data set and its teacher, and how many samples are bought of it
samples/<id>.json   the keys of the samples of one teacher that students learn from
teachers/<id>/      an own teacher: its training, its service, its ledger
purchase.lock       held by the process that trains teachers and buys
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from distill_worker.errors import RunError, storage_errors
from distill_worker.runs.sampling.saved_selections import ROUNDS
from distill_worker.training.directory.run_directory import LOCK
from shared.atomic_file import atomic_replacement
from shared.durable.signed_lock import LockHeld, holder_of, own_partial_path, signed_lock

_MOST_CHANGES: Final = 3
_OF_WORK: Final = ("teachers", "sources", "results", "failed")


class SweepDirectory:
    """An opened directory of a sweep. Every failure of the disk is a `RunError`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def student(self, student_id: str) -> Path:
        """The run directory of a student."""
        return self.path / "students" / student_id

    def teacher(self, teacher_id: str) -> Path:
        """The directory of an own teacher."""
        return self.path / "teachers" / teacher_id

    def grid(self) -> dict[str, Any] | None:
        """What `sweep.json` holds, or None."""
        return self._read("sweep.json")

    def claim(self, grid: Mapping[str, Any], *, extend: bool) -> None:
        """Write the grid.

        Args:
            grid: with `settings` by name, and `students`, each with an `id`; JSON-able.
            extend: whether it may replace another grid of which something was bought or trained.

        Raises:
            RunError: another grid is here, with other students.
        """
        with self._locked("sweep.lock", lambda _holder: None):
            stored = self.grid()
            is_other = stored is not None and _ids(stored["students"]) != _ids(grid["students"])
            if stored is not None and is_other and not extend and self._has_begun():
                raise RunError(
                    f"{self.path}: this directory holds another sweep ({_changes(stored, grid)}); choose another "
                    "compare.directory, or add --extend, which keeps the results of the students that remain and "
                    "trains the new ones. Nothing was spent"
                )
            if stored != grid:
                self._write("sweep.json", grid)

    def _has_begun(self) -> bool:
        """Whether a process buys or trains here, or did: not if a price was shown, and not agreed to."""
        # The first samples of a student are selected before the price is known.
        students = self.path.glob("students/*/*")
        return (
            self.buyer() is not None
            or any((self.path / name).exists() for name in _OF_WORK)
            or any(path.name != ROUNDS for path in students)
        )

    def finished(self) -> set[str]:
        """The ids of the students that have a result."""
        return {path.stem for path in (self.path / "results").glob("*.json") if not path.name.startswith(".")}

    def result(self, student_id: str) -> dict[str, Any]:
        """The result of a student that has one."""
        return self._read(f"results/{student_id}.json") or {}

    def store(self, student_id: str, result: Mapping[str, Any]) -> None:
        """Write the result of a student; an earlier failure is forgotten."""
        if student_id not in self.finished():
            self._write(f"results/{student_id}.json", result)
        with suppress(OSError):
            (self.path / "failed" / f"{student_id}.json").unlink()

    def fail(self, student_id: str, error: str) -> None:
        """Write down why the training of a student failed."""
        self._write(f"failed/{student_id}.json", {"error": error})

    def failures(self) -> dict[str, str]:
        """Why trainings failed, by the id of the student."""
        ids = {path.stem for path in (self.path / "failed").glob("*.json") if not path.name.startswith(".")}
        return {one: (self._read(f"failed/{one}.json") or {}).get("error", "") for one in ids - self.finished()}

    def holder(self, student_id: str) -> str | None:
        """The process that trains a student, or one that selects for it, such as `4711@host`; None if none does."""
        folder = self.student(student_id)
        with storage_errors(self.path):
            held = (holder_of(path) for path in (folder / LOCK, *folder.glob(f"{ROUNDS}/*/{LOCK}")))
            return next((holder for holder in held if holder is not None), None)

    def source(self, source_id: str) -> dict[str, Any] | None:
        """The facts of a data set and its teacher whose outputs are bought, or None."""
        return self._read(f"sources/{source_id}.json")

    def save_source(self, source_id: str, facts: Mapping[str, Any]) -> None:
        """Write the facts of a data set and its teacher."""
        self._write(f"sources/{source_id}.json", facts)

    def add_samples(self, teacher_id: str, keys: Iterable[bytes]) -> int:
        """Add samples of a teacher that students learn from; how many different ones there are then.

        The caller holds `purchasing`.
        """
        name = f"samples/{sha256(teacher_id.encode()).hexdigest()[:16]}.json"
        before = (self._read(name) or {"keys": []})["keys"]
        every = sorted({*before, *(key.hex() for key in keys)})
        if every != before:
            self._write(name, {"teacher": teacher_id, "keys": every})
        return len(every)

    @contextmanager
    def purchasing(self, note: Callable[[str], None]) -> Iterator[None]:
        """Be the one process that trains teachers and buys; `note` shows which other one this waits for."""
        with self._locked(
            "purchase.lock",
            lambda holder: note(f"waiting for {holder or 'another process'}, which trains the teacher or buys"),
        ):
            yield

    def buyer(self) -> str | None:
        """The process that trains teachers or buys now, or None."""
        with storage_errors(self.path):
            return holder_of(self.path / "purchase.lock")

    @contextmanager
    def _locked(self, name: str, on_wait: Callable[[str], None]) -> Iterator[None]:
        path = self.path / name
        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        lock = signed_lock(path)
        try:
            with storage_errors(self.path):
                lock.__enter__()
        except LockHeld as error:
            on_wait(error.holder)
            lock = signed_lock(path, waits=True)
            with storage_errors(self.path):
                lock.__enter__()
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        path = self.path / name
        partial = own_partial_path(path)  # two processes may write the same result
        with storage_errors(self.path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_replacement(path, partial=partial):
                partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{path}: cannot be read ({error}); restore it, or delete it") from error
        if not isinstance(content, dict):
            raise RunError(f"{path}: cannot be read (it is no JSON object); restore it, or delete it")
        return content


def _changes(stored: Mapping[str, Any], grid: Mapping[str, Any]) -> str:
    """What differs between two grids: settings by name, and how many students are new and how many are gone."""
    old, new = stored["settings"], grid["settings"]
    settings = [
        f"{name}: {_shown(old, name)} in the directory, {_shown(new, name)} now"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    more = [f"{len(settings) - _MOST_CHANGES} more"] if len(settings) > _MOST_CHANGES else []
    ids_before, ids_now = _ids(stored["students"]), _ids(grid["students"])
    count = f"{len(ids_now - ids_before)} of its students are new, {len(ids_before - ids_now)} are gone"
    return "; ".join([*settings[:_MOST_CHANGES], *more, count])


def _shown(settings: Mapping[str, Any], name: str) -> str:
    return json.dumps(settings[name]) if name in settings else "not set"


def _ids(students: Sequence[Mapping[str, Any]]) -> set[str]:
    return {student["id"] for student in students}
