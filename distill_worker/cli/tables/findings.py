"""The findings of `doctor` on standard output: a line each, and the remedy below it."""

from collections.abc import Iterable, Mapping
from typing import Final

from rich.text import Text

from distill_worker.cli.console import answers
from distill_worker.cli.doctor.finding import Finding, Grade

_STYLES: Final[Mapping[Grade, str]] = {
    Grade.OK: "green",
    Grade.WARNING: "yellow",
    Grade.FAULT: "bold red",
    Grade.NOT_CHECKED: "dim",
}
_WIDTH: Final = max(len(grade) for grade in Grade)


def show_finding(finding: Finding) -> None:
    """Print a finding, and what to do about it."""
    line = Text(f"{finding.grade:<{_WIDTH}}", style=_STYLES[finding.grade])
    line.append(f"  {finding.check}: {finding.line}", style="default")
    answers.print(line)
    if finding.remedy is not None:
        answers.print(Text(f"{'':<{_WIDTH}}  to do: {finding.remedy}"))


def show_not_checked(findings: Iterable[Finding]) -> None:
    """Print what was not checked: a line for each reason."""
    checks: dict[str, list[str]] = {}
    for finding in findings:
        checks.setdefault(finding.line, []).append(finding.check)
    for reason, names in checks.items():
        show_finding(Finding.not_checked(", ".join(names), reason))


def show_tally(tally: Mapping[Grade, int]) -> None:
    """Print how many findings of each grade there are."""
    answers.print(Text(", ".join(f"{tally.get(grade, 0)} {grade}" for grade in Grade)))
