"""The exit statuses of both programs, by which a script tells what went wrong. Their numbers never change."""

from enum import IntEnum
from typing import Self


class ExitStatus(IntEnum):
    """Why a command ended."""

    meaning: str
    """The status in a few words, for `--help` and the documentation."""

    def __new__(cls, number: int, meaning: str) -> Self:
        """A status with its number and its meaning."""
        status = int.__new__(cls, number)
        status._value_ = number
        status.meaning = meaning
        return status

    SUCCESS = 0, "success"
    UNEXPECTED_ERROR = 1, "unexpected error: a defect, with a traceback"
    WRONG_USAGE = 2, "the command line, an environment variable or the configuration is wrong"
    UNUSABLE_FILE = 3, "a file, data set, cache, ledger or run directory cannot be used"
    UNUSABLE_TEACHER = 4, "the teacher cannot be reached or used"
    PURCHASE_REJECTED = (
        5,
        "a purchase was rejected: by quota, price or missing consent, or because teacher and data do not fit",
    )
    DIFFERENCE = 6, "a check reported a difference or damage"
    INTERRUPTED = 130, "interrupted"


def legend() -> str:
    """All statuses with their meanings in one line, for the end of a command's `--help`."""
    return f"Exit status: {'; '.join(f'{status.value} {status.meaning}' for status in ExitStatus)}."


def table() -> str:
    """All statuses with their meanings as a Markdown table."""
    rows = [f"| {status.value} | {status.meaning} |" for status in ExitStatus]
    return "\n".join(["| exit status | meaning |", "|---|---|", *rows]) + "\n"
