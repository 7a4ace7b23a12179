"""A run directory: a run's configuration, progress and result, and the state to resume it from.

    run.json              an id, configuration, teacher, environment
    metrics.jsonl         one line per logged step
    tensorboard/          the same values for TensorBoard: see `training.trackers`
    wandb/                the files of Weights & Biases, if it tracks the run
    checkpoint.pt         the last checkpoint, until the run is finished
    student.safetensors   the trained student, with its description in the metadata
    result.json           written last: a run with a result is finished
    tuning/               the scores that settings are chosen by: see `runs.tuning`
    self-training/        the run directories of an ensemble's members, and their outputs: see `runs.self_training`
    fidelity/             what students of a part agree with the teacher on: see `runs.fidelity`
    export/               the student in other formats: see `training.finished`
    analysis.json         what the student learned: see `experiments.analyses`
    command.json          what the command knew that ended the run: its price, its warnings
    report.html           the page of the run: see `experiments.report`
    before-1/ ...         earlier runs that were moved aside

Invariant: a directory with a checkpoint or a result belongs to one run; a run with another identity is rejected.
"""

import io
import json
import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final
from uuid import uuid4

import torch

from distill_worker.config.run_identity import RunIdentity
from distill_worker.errors import RunError, RunInUse, storage_errors
from distill_worker.training.directory.earlier_run import UNFINISHED, end_interrupted_move, move_aside
from distill_worker.training.directory.environment import environment
from distill_worker.training.directory.metrics_log import MetricsLog
from distill_worker.training.trackers import tensorboard
from distill_worker.training.trackers.tracker import TrackedRun
from distill_worker.training.trackers.tracking import Tracking, logged
from shared.atomic_file import partial_path, write_atomically
from shared.durable.signed_lock import LockHeld, signed_lock

ELSEWHERE: Final = "choose another output.directory (of a comparison: compare.directory)"
LOCK: Final = ".lock"
"""The file whose lock a process holds while it trains in the directory."""
STUDENT: Final = "student.safetensors"
SELF_TRAINING: Final = "self-training"
TUNING: Final = "tuning"
FIDELITY: Final = "fidelity"
EXPORT: Final = "export"
COMMAND: Final = "command.json"
REPORT: Final = "report.html"
ANALYSIS: Final = "analysis.json"
TRACKED: Final = (tensorboard.FOLDER, "wandb")
"""The folders that trackers write."""
STAGES: Final = (TUNING, SELF_TRAINING, FIDELITY)
"""The folders of the trainings beside the run's own."""
_OWN: Final = ("result.json", "checkpoint.pt")
_PROGRESS: Final = (
    *_OWN,
    *(f"{SELF_TRAINING}/*/*/{name}" for name in _OWN),
    *(f"{TUNING}/{name}" for name in ("*.json", "*/checkpoint.pt")),
)
"""The files that make a directory a run's own: of the run, of a member of an ensemble, or of its tuning."""
_FILES: Final = (
    *(ANALYSIS, COMMAND, REPORT, "result.json", STUDENT, EXPORT, "checkpoint.pt"),
    *(*STAGES, *TRACKED, "metrics.jsonl", "run.json"),
)
"""The files of a run. run.json is the last to be moved: the remaining ones belong to a named run until none remains."""
_PARTIAL_FILES: Final = (*(partial_path(Path(name)).name for name in _FILES), ".checkpoint.part")
"""What a killed process may leave; earlier versions left the last."""

Note = Callable[[str], None]
"""Shows the user one line."""


class RunDirectory:
    """An opened run directory. Every failure of the disk is a `RunError`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metrics = MetricsLog(path / "metrics.jsonl")
        self._tracking = Tracking()

    @contextmanager
    def opened(
        self,
        identity: RunIdentity,
        *,
        fresh: bool = False,
        note: Note = lambda _line: None,
        tracking: Tracking | None = None,
    ) -> Iterator[None]:
        """Claim the directory for the run that `identity` describes, and lock it until the end.

        Args:
            identity: everything that the result depends on.
            fresh: first move the files of an earlier run aside, to a folder `before-1` (or 2, ...) in the directory.
            note: shows that folder.
            tracking: the trackers that follow the training, from its first step to its result or its end without one.

        Raises:
            RunError: the directory cannot be written, is in use, or holds another run.
        """
        with self._locked():
            with storage_errors(self.path):
                self._end_interrupted_move(note)
                if fresh or self._is_free_for(identity):
                    self._vacate(note)
                self._claim(identity, note)
                for name in _PARTIAL_FILES:  # left by a killed process
                    (self.path / name).unlink(missing_ok=True)
            self._tracking = tracking or Tracking()
            try:
                yield
            finally:
                self._tracking.end(None)

    def vacate(self, note: Note) -> None:
        """Move the files of an earlier run aside, as `opened` does with `fresh`. Raises `RunError`."""
        if self.path.exists():
            with self._locked(), storage_errors(self.path):
                self._end_interrupted_move(note)
                self._vacate(note)

    def check(self, identity: RunIdentity, *, fresh: bool = False) -> None:
        """Check that `opened` would claim the directory for a run with at least these values; make and change nothing.

        Raises:
            RunError: the directory cannot be written, or holds another run.
        """
        if not fresh and self.result_of(identity, partial=True) is not None:
            return
        existing = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.exists())
        with storage_errors(self.path), TemporaryFile(dir=existing):
            pass
        if not fresh and self.has_progress():
            self._check_same(identity, partial=True)

    def check_idle(self) -> None:
        """Raise `RunError` if another process is training in the directory; make nothing."""
        if (self.path / LOCK).exists():
            with self._locked(shared=True):  # two processes that check do not disturb each other
                pass

    def has_progress(self) -> bool:
        """Whether a run, or a member of its ensemble, has saved a checkpoint or scores here, or finished."""
        return any(True for pattern in _PROGRESS for _ in self.path.glob(pattern))

    def result(self) -> dict[str, Any] | None:
        """The result of a finished run, or None."""
        return self.read_json("result.json")

    def result_of(self, identity: RunIdentity, *, partial: bool = False) -> dict[str, Any] | None:
        """The result of this run, or None. This takes no lock and writes nothing: the disk may be full or read-only.

        Args:
            identity: the run.
            partial: whether the identity lacks some of the values.
        """
        result = None if (self.path / UNFINISHED).exists() else self.result()
        stored = (self.read_json("run.json") or {}) if result is not None else {}
        return result if identity.difference(stored.get("identity"), partial=partial) is None else None

    def finish(self, weights: bytes, result: Mapping[str, Any]) -> None:
        """Write the student and the result, delete the checkpoint, and pass the result on to the trackers."""
        with storage_errors(self.path):
            write_atomically(self.path / STUDENT, weights)
            write_atomically(self.path / "result.json", _json(result))
            (self.path / "checkpoint.pt").unlink(missing_ok=True)
        self._tracking.end(result)

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint. If the disk is full, the one before stays."""
        content = io.BytesIO()  # torch's own writer of files reports a full disk as an error of its own
        torch.save(dict(state), content)
        with storage_errors(self.path):
            write_atomically(self.path / "checkpoint.pt", content.getbuffer())

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint, on the CPU, or None."""
        path = self.path / "checkpoint.pt"
        if not path.exists():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise RunError(f"{path}: expected a checkpoint, got a damaged file; delete it to start again") from error
        if not isinstance(state, dict):
            raise RunError(f"{path}: expected a checkpoint, got another file; delete it to start again")
        return state

    def log_after(self, step: int) -> None:
        """Begin to log. Metrics of the steps after `step`, which a resumed run takes again, are dropped."""
        with storage_errors(self.path):
            earlier = self._metrics.drop_after(step)
        if self._tracking.is_wanted:
            run = self.read_json("run.json") or {}
            place = self.path.absolute()
            lines = [logged(metrics) for metrics in earlier]
            self._tracking.begin(TrackedRun(run["id"], place.name, place, run["identity"], step, lines))

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl, and pass it on to the trackers; `metrics` must hold a `step`."""
        with storage_errors(self.path):
            self._metrics.append(metrics)
        self._tracking.log(metrics)

    @contextmanager
    def _locked(self, *, shared: bool = False) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                with storage_errors(self.path):
                    self.path.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(signed_lock(self.path / LOCK, shared=shared))
            except LockHeld as error:
                raise RunInUse(
                    f"{self.path}: another process is training in this directory; wait for it, or {ELSEWHERE}",
                    holder=error.holder,
                ) from None
            yield

    def _is_free_for(self, identity: RunIdentity) -> bool:
        """Whether another run began here, and neither saved a checkpoint nor finished."""
        if self.has_progress():
            return False
        try:
            stored = self.read_json("run.json")
        except RunError:
            return True
        return stored is None or identity.difference(stored.get("identity")) is not None

    def _end_interrupted_move(self, note: Note) -> None:
        if (kept := end_interrupted_move(self.path, _FILES)) is not None:
            note(_moved(kept))

    def _vacate(self, note: Note) -> None:
        """Move away what an earlier run made; forget a run that made nothing."""
        if self.has_progress() or (self.path / STUDENT).exists():
            note(_moved(move_aside(self.path, _FILES)))
            return
        for name in (TUNING, *TRACKED):  # of TUNING, the metrics of a trial without a checkpoint
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in ("metrics.jsonl", "run.json"):
            (self.path / name).unlink(missing_ok=True)

    def _claim(self, identity: RunIdentity, note: Note) -> None:
        path = self.path / "run.json"
        if not path.exists() and not self.has_progress():
            write_atomically(
                path, _json({"id": uuid4().hex, "identity": identity.values, "environment": environment()})
            )
            return
        stored = self._check_same(identity)
        if (self.path / "result.json").exists():
            return
        # Earlier versions left out the id and some of the facts.
        completed = {"id": uuid4().hex, **stored, "identity": {**identity.values, **stored["identity"]}}
        if completed != stored:
            write_atomically(path, _json(completed))
        began_with = stored.get("environment", {}).get("torch")
        if began_with != torch.__version__:
            note(
                f"the run in {self.path} began with torch {began_with} and resumes with {torch.__version__}: the last "
                "bits of its result may differ"
            )

    def _check_same(self, identity: RunIdentity, *, partial: bool = False) -> dict[str, Any]:
        """The content of run.json, which describes this run. Raises `RunError` if it describes another, or none."""
        stored = self.read_json("run.json") or {}
        if (difference := identity.difference(stored.get("identity"), partial=partial)) is not None:
            raise RunError(
                f"{self.path}: this directory holds another run ({difference}); {ELSEWHERE}, or "
                "train again with --fresh, which moves the earlier run to a folder before-1, or a higher number, in it"
            )
        return stored

    def read_json(self, name: str) -> dict[str, Any] | None:
        """The object in one of the directory's JSON files, or None. Raises `RunError`."""
        path = self.path / name
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{path}: cannot be read ({error}); restore it, or start again with --fresh") from error
        if not isinstance(content, dict):
            raise RunError(f"{path}: cannot be read (it is no JSON object); restore it, or start again with --fresh")
        return content


def _moved(kept: Path) -> str:
    return f"the earlier run in {kept.parent} was moved to {kept}"


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, default=str) + "\n").encode()
