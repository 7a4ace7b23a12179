"""The demo as a stranger runs it, in processes of its own."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.endurance import ENDURANCE, HANG_SECONDS

_ROOT = Path(__file__).parents[2]
_MODULE = "distill_worker" if ENDURANCE else "tests.end_to_end.short_demo"


def test_demo_pays_once_repeats_every_bit_and_refuses_what_it_cannot_pay(tmp_path: Path) -> None:
    first, second = _demo(tmp_path), _demo(tmp_path)
    paid = first["calls_paid"]
    assert 50 < paid <= 125, "50 random samples, 25 for both rows of auto, and 25 for each"
    assert first["cache_hits"] == 0
    assert first["quota"] == {"limit": 125, "used": paid, "remaining": 125 - paid}
    assert {result["method"] for result in first["results"]} >= {"ce", "kd", "ckd"}
    assert (first["warnings"], second["warnings"]) == ([], []), "no sign of failure"
    assert first["teacher"]["agreement"]["samples"] == paid
    assert first["teacher"]["accuracy"] > (0.95 if ENDURANCE else 0.5)
    assert second["calls_paid"] == 0
    assert second["cache_hits"] == paid
    assert second["quota"] == first["quota"]
    for result in (*first["results"], *second["results"]):
        assert result.pop("seconds") > 0
    assert second["results"] == first["results"], "training repeats bit for bit"
    students = list((tmp_path / "digits" / "students").iterdir())
    for student in students:
        weights = [folder / "student.safetensors" for folder in (student, student / "before-1")]
        assert weights[0].read_bytes() == weights[1].read_bytes(), "the students of the first demo are kept"
    moved, others = re.search(r"was moved to .*/before-1; and (\d+) more", second["stderr"]), len(students) - 1
    assert moved is not None, second["stderr"]
    assert int(moved[1]) == others
    assert second["stderr"].splitlines()[-1] == f"page: {tmp_path / 'digits' / 'report.html'}"
    page = (tmp_path / "digits" / "report.html").read_text()
    assert "(track queried)" in page
    assert "What to look at" not in page

    refused = _run(tmp_path, "--n", "200")
    assert refused.returncode == 5, "a quota below n is said before anything is spent"
    assert f"got {125 - paid} of 125 calls left. Nothing was spent" in refused.stderr


def _demo(directory: Path) -> dict[str, Any]:
    done = _run(directory)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "stderr": done.stderr}


def _run(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", _MODULE, "demo", "--json", "--seeds", "1"]
    command += ["--directory", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=_ROOT, timeout=HANG_SECONDS)
