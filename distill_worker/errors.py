"""What can go wrong on the worker's side, each with a message that says what to do.

WorkerError
├── ConfigError           the TOML file, a flag, or what they ask for
├── DataError             a data set is missing or damaged
├── CacheError            the store of bought outputs is damaged or cannot be written
├── RunError              a run directory that cannot be used
├── PlanRefused           what is wanted cannot be paid for; nothing was spent
└── TeacherError          the teacher cannot be used
    ├── TeacherRefused    the content was refused: it was never charged, repeating it changes nothing
    │   └── QuotaExhausted
    ├── TeacherChanged    another model answers now than the one that was described
    ├── AnswerExpired     the answer was charged and is kept no more
    └── TeacherUnavailable  a failure that may pass; whether it was charged is not known
        └── TeacherStopped  nothing more is sent, for we do not want to
"""


class WorkerError(Exception):
    """Anything that the command line reports in one line and exit status 2."""


class ConfigError(WorkerError):
    """The TOML file, a flag, or what they ask for."""


class DataError(WorkerError):
    """A data set is missing or damaged."""


class CacheError(WorkerError):
    """The store of bought outputs is damaged or cannot be written."""


class RunError(WorkerError):
    """A run directory that cannot be used."""


class PlanRefused(WorkerError):
    """What is wanted cannot be paid for; nothing was spent."""


class TeacherError(WorkerError):
    """The teacher cannot be used."""


class TeacherRefused(TeacherError):
    """The content was refused: it was never charged, and repeating the request changes nothing."""


class QuotaExhausted(TeacherRefused):
    """The key's quota cannot pay for the request."""


class TeacherChanged(TeacherError):
    """Another model answers now than the one that was described: nothing more may be asked in the old one's name."""


class AnswerExpired(TeacherError):
    """The answer was charged and is kept no more: repeating the request never brings it."""


class TeacherUnavailable(TeacherError):
    """A failure that may pass. Whether the request was charged is not known, so only the same one may be repeated."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, unpaid: bool = False) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.unpaid = unpaid
        """That none of its attempts was charged is certain, as far as the teacher can be believed."""


class TeacherStopped(TeacherUnavailable):
    """Nothing more is sent, for `Teacher.stop` was called. It says nothing of the teacher."""


def counted(number: int, noun: str) -> str:
    """A number and its noun for a message, for example "1 sample" or "2 samples"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
