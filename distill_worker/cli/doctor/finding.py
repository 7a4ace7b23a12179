"""What one check says."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from distill_worker.errors import WorkerError


class Grade(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """The run works, and something is likely not as it is meant."""
    FAULT = "fault"
    """The run fails."""
    NOT_CHECKED = "not checked"
    """Another check must hold first."""


@dataclass(frozen=True)
class Finding:
    """What one check says, in one line."""

    check: str
    grade: Grade
    line: str
    remedy: str | None = None
    """What to type or change; a fault and a warning have one."""

    @classmethod
    def ok(cls, check: str, line: str) -> "Finding":
        """The check holds."""
        return cls(check, Grade.OK, line)

    @classmethod
    def warning(cls, check: str, line: str, remedy: str) -> "Finding":
        """The run works, and something is likely not as it is meant."""
        return cls(check, Grade.WARNING, line, remedy)

    @classmethod
    def fault(cls, check: str, problem: WorkerError | str, remedy: str) -> "Finding":
        """The run fails."""
        return cls(check, Grade.FAULT, str(problem), remedy)

    @classmethod
    def not_checked(cls, check: str, reason: str) -> "Finding":
        """Another check must hold first."""
        return cls(check, Grade.NOT_CHECKED, reason)

    def facts(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def once(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings; a fault that an earlier check has named in the same words is only referred to."""
    named: dict[str, str] = {}
    for finding in findings:
        if finding.grade is not Grade.FAULT or finding.line not in named:
            yield finding
        elif named[finding.line] != finding.check:
            yield Finding.not_checked(finding.check, f"{named[finding.line]} must hold first")
        if finding.grade is Grade.FAULT:
            named.setdefault(finding.line, finding.check)
