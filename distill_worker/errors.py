"""The errors of the worker. Each message says what was expected, what came instead, and what to do.

WorkerError
├── ConfigError           2  the configuration file or an option is wrong, or asks for something impossible
│   └── TrainingDiverged  2  the loss of a training is not finite
├── DataError             3  a data set is missing or damaged
│   └── PicturesUnread    3  image files cannot be read
├── WeightsFileError      3  a weights file is missing, damaged, or does not fit
├── CacheError            3  the cache of bought outputs is damaged, cannot be written, or lacks outputs
├── RunError              3  a run directory cannot be used
│   └── RunInUse          3  another process is training in it
├── PlanRefused           5  a purchase was rejected before its next request
├── CheckFailed           6  a check reported a difference or damage
├── RankLost            130  another rank of the same training ended
└── TeacherError          4  the teacher cannot be used
    ├── TeacherRefused    4  the request was rejected and never charged; a retry would be rejected too
    │   └── QuotaExhausted  5  the quota of the key cannot pay for the request
    ├── TeacherChanged    4  the model that responds is not the one that was described
    ├── AnswerUnread      4  the response was charged and cannot be read
    ├── AnswerExpired     4  the response was charged, and the teacher no longer stores it
    └── TeacherUnavailable  4  a temporary failure; the request may have been charged
        └── TeacherStopped  4  nothing more is sent, because the worker is stopping

The number is the exit status of a command that ends with the error.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from typing import Any, ClassVar, Final

from shared.exit_status import ExitStatus

_DISK_IS_FULL: Final = (ENOSPC, EDQUOT, EFBIG)


class WorkerError(Exception):
    """The base of all errors that the command line reports in one line. Raise a class that has an exit status."""

    exit_status: ClassVar[ExitStatus] = ExitStatus.UNEXPECTED_ERROR
    """The exit status of a command that ends with this error."""

    def of(self, subject: str) -> "WorkerError":
        """This error; its message now begins with what it is about, such as one of many students."""
        self.args = (f"{subject}: {self}", *self.args[1:])
        return self


class ConfigError(WorkerError):
    """The configuration file or an option is wrong, or asks for something impossible."""

    exit_status = ExitStatus.WRONG_USAGE


class TrainingDiverged(ConfigError):
    """The loss of a training is not finite, most often because the learning rate is too high."""


class DataError(WorkerError):
    """A data set is missing or damaged."""

    exit_status = ExitStatus.UNUSABLE_FILE


class PicturesUnread(DataError):
    """Image files cannot be read."""


class WeightsFileError(WorkerError):
    """A weights file is missing, damaged, or does not fit."""

    exit_status = ExitStatus.UNUSABLE_FILE


class CacheError(WorkerError):
    """The cache of bought outputs is damaged, cannot be written, or lacks outputs."""

    exit_status = ExitStatus.UNUSABLE_FILE


class RunError(WorkerError):
    """A run directory cannot be used."""

    exit_status = ExitStatus.UNUSABLE_FILE


class RunInUse(RunError):
    """Another process is training in the run directory."""

    def __init__(self, message: str, holder: str = "") -> None:
        super().__init__(message)
        self.holder = holder
        """Which process: see `signed_lock`."""


class PlanRefused(WorkerError):
    """A purchase was rejected before its next request: by quota, consent, labels, outputs, or another key's."""

    exit_status = ExitStatus.PURCHASE_REJECTED


class CheckFailed(WorkerError):
    """A check reported a difference or damage."""

    exit_status = ExitStatus.DIFFERENCE


class RankLost(WorkerError):
    """Another rank of the same training ended, so this one cannot go on."""

    exit_status = ExitStatus.INTERRUPTED


class TeacherError(WorkerError):
    """The teacher cannot be used."""

    exit_status = ExitStatus.UNUSABLE_TEACHER


class TeacherRefused(TeacherError):
    """The request was rejected and never charged; a retry would be rejected too."""


class QuotaExhausted(TeacherRefused):
    """The quota of the key cannot pay for the request."""

    exit_status = ExitStatus.PURCHASE_REJECTED


class TeacherChanged(TeacherError):
    """The model that responds is not the one that was described, so nothing more may be bought under its id."""


class AnswerUnread(TeacherError):
    """The response was charged and cannot be read, so it must be kept as it arrived."""

    def __init__(self, message: str, raw: Any = None) -> None:
        super().__init__(message)
        self.raw = raw
        """The response, a `RawAnswer`; None once it is kept."""


class AnswerExpired(TeacherError):
    """The response was charged, and the teacher no longer stores it: a retry never returns it."""


class TeacherUnavailable(TeacherError):
    """A temporary failure. The request may have been charged, so retry only under the same idempotency key."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, unpaid: bool = False) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.unpaid = unpaid
        """Whether certainly no attempt was charged, as far as the teacher can be believed."""


class TeacherStopped(TeacherUnavailable):
    """Nothing more is sent: `Teacher.stop` was called. An earlier attempt may have been charged, see `unpaid`."""


@contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    """Raise `RunError` where the system lets no file of a run be written; it names the file or folder."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in _DISK_IS_FULL
        remedy = "; free some space, then the same command goes on where it stopped" if is_full else ""
        raise RunError(f"{place}: cannot write to it ({error.strerror or error}){remedy}") from error


def counted(number: int, noun: str) -> str:
    """A number and its noun for a message, for example "1 sample" or "2 samples"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
