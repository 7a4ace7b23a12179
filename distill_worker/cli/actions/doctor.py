"""What `doctor` does: check a run on this machine, and print each finding as it is made."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from distill_worker.cli.doctor.finding import Finding, Grade, once
from distill_worker.cli.doctor.machine import PYTORCH, machine
from distill_worker.cli.tables.findings import show_finding, show_not_checked, show_tally
from distill_worker.errors import CheckFailed, counted


def doctor(
    config_file: Path | None,
    overrides: Sequence[str],
    *,
    data: Path | None,
    teacher_url: str | None,
    n: int | None,
    student: str | None,
    as_json: bool,
) -> None:
    """Check a run; without a file and data, this machine alone. Raises `CheckFailed` if there are faults."""
    findings: list[Finding] = []

    def take(made: Iterable[Finding]) -> None:
        for finding in made:
            findings.append(finding)
            if not as_json and finding.grade is not Grade.NOT_CHECKED:
                show_finding(finding)

    take(machine())
    if any(finding.check == PYTORCH and finding.grade is Grade.FAULT for finding in findings):
        take([Finding.not_checked("all others", f"{PYTORCH} must hold first")])
    elif config_file is None and data is None:
        take([Finding.not_checked("all others", "name the file of a run, or --data and --teacher-url")])
    else:
        from distill_worker.cli.doctor.examination import examine  # it imports what was just checked
        from distill_worker.cli.stated_run import StatedRun

        take(once(examine(StatedRun(config_file, overrides, data, teacher_url, n, student))))
    tally = Counter(finding.grade for finding in findings)
    if as_json:
        counts = {"faults": tally[Grade.FAULT], "warnings": tally[Grade.WARNING]}
        print(json.dumps({"findings": [finding.facts() for finding in findings], **counts}))
    else:
        show_not_checked([finding for finding in findings if finding.grade is Grade.NOT_CHECKED])
        show_tally(tally)
    if faults := tally[Grade.FAULT]:
        raise CheckFailed(f"doctor: {counted(faults, 'fault')}; each one is above, with what to do. Nothing was spent")
