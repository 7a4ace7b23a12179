"""What of a configuration can be used where a part of it is wrong."""

from pathlib import Path

import pytest

from distill_worker.cli.doctor.configuration import configuration
from distill_worker.cli.doctor.finding import Grade
from distill_worker.cli.stated_run import StatedRun

WHOLE = """
data.name = "digits"
student.network = "resnet8"
method.name = "kd"
budget.n = 10
"""


def _stated(folder: Path, text: str) -> StatedRun:
    (folder / "run.toml").write_text(text)
    return StatedRun(folder / "run.toml", ())


def test_whole_configuration_is_said_in_one_line(tmp_path: Path) -> None:
    [finding], config = configuration(_stated(tmp_path, WHOLE))
    assert config is not None
    assert finding.grade is Grade.OK
    assert finding.line.endswith("run.toml: method kd, student resnet8, data digits, n = 10")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("training.step = 5", ["training.step"]),
        ("trainig.steps = 5", ["trainig"]),
        ("training.steps = 'many'\nteacher.request_size = 0", ["training.steps", "teacher.request_size"]),
        ('training.step = 5\nteacher.url = "here"', ["training.step", "teacher.url"]),
        ("method.temperatur = 3\ndata.rots = 5", ["method.temperatur", "data.rots"]),
    ],
)
def test_run_is_read_without_what_is_wrong(tmp_path: Path, text: str, named: list[str]) -> None:
    """Each wrong key is named; the others stay."""
    findings, config = configuration(_stated(tmp_path, WHOLE + text))
    assert config is not None
    assert (config.budget.n, config.student.network, config.training.steps) == (10, "resnet8", 600)
    assert {finding.grade for finding in findings} == {Grade.FAULT}
    lines = " ".join(finding.line for finding in findings)
    assert all(f"{name}: " in lines for name in named)
    assert "what follows is checked without it" in lines


@pytest.mark.parametrize(
    "text",
    ["data.name = 'digit'\nstudent.network = 'resnet8'\n", "student.network = 'resnet8'\n", "no toml", ""],
)
def test_what_cannot_be_used_at_all_is_one_fault(tmp_path: Path, text: str) -> None:
    findings, config = configuration(_stated(tmp_path, text))
    assert config is None
    assert findings[-1].grade is Grade.FAULT
    assert findings[-1].remedy is not None


def test_absent_file_is_a_fault(tmp_path: Path) -> None:
    [finding], config = configuration(StatedRun(tmp_path / "absent.toml", ()))
    assert (config, finding.grade) == (None, Grade.FAULT)
    assert "absent.toml" in finding.line
