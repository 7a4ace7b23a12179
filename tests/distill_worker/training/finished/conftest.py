"""The run directories that earlier versions wrote, which have networks of the user's own."""

import shutil
from pathlib import Path

import pytest

from distill_worker.training.finished.student import FinishedStudent, load_student

ROOT = Path(__file__).parents[4]
KEPT = ROOT / "tests" / "written_before" / "flat_layout"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`finished`, `unfinished` and `teacher`; the network's file is found from the working directory."""
    monkeypatch.chdir(ROOT)
    return Path(shutil.copytree(KEPT, tmp_path / "runs"))


@pytest.fixture
def student(runs: Path) -> FinishedStudent:
    """Of ten digits, grey, 8x8."""
    return load_student(runs / "finished", trust_code=True)
