"""The errors of the worker. Each message says what was expected, what came instead, and what to do.

WorkerError
├── ConfigError           the configuration file or an option is wrong, or asks for something impossible
├── DataError             a data set is missing or damaged
├── CacheError            the cache of bought outputs is damaged or cannot be written
├── RunError              a run directory cannot be used
├── PlanRefused           a purchase was rejected before its next request
└── TeacherError          the teacher cannot be used
    ├── TeacherRefused    the request was rejected and never charged; a retry would be rejected too
    │   └── QuotaExhausted  the quota of the key cannot pay for the request
    ├── TeacherChanged    the model that responds is not the one that was described
    ├── AnswerExpired     the response was charged, and the teacher no longer stores it
    └── TeacherUnavailable  a temporary failure; the request may have been charged
        └── TeacherStopped  nothing more is sent, because the worker is stopping
"""


class WorkerError(Exception):
    """The base of all errors that the command line reports in one line with exit status 2."""


class ConfigError(WorkerError):
    """The configuration file or an option is wrong, or asks for something impossible."""


class DataError(WorkerError):
    """A data set is missing or damaged."""


class CacheError(WorkerError):
    """The cache of bought outputs is damaged or cannot be written."""


class RunError(WorkerError):
    """A run directory cannot be used."""


class PlanRefused(WorkerError):
    """A purchase was rejected before its next request: by quota, agreement, outputs, or another API key's purchase."""


class TeacherError(WorkerError):
    """The teacher cannot be used."""


class TeacherRefused(TeacherError):
    """The request was rejected and never charged; a retry would be rejected too."""


class QuotaExhausted(TeacherRefused):
    """The quota of the key cannot pay for the request."""


class TeacherChanged(TeacherError):
    """The model that responds is not the one that was described, so nothing more may be bought under its id."""


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


def counted(number: int, noun: str) -> str:
    """A number and its noun for a message, for example "1 sample" or "2 samples"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
