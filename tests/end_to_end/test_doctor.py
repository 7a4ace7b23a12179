"""`doctor` names each planted fault and what to do about it, spends nothing, and writes the table of docs/doctor.md."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from distill_worker.cli.command import main
from tests.end_to_end.fault_bench import Bench, Planted
from tests.end_to_end.faulty_files import unlabelled
from tests.end_to_end.faulty_servers import closed_port
from tests.end_to_end.planted_faults import PLANTED
from tests.end_to_end.processes import RunningService
from tests.generated_page import check_part

PAGE = Path(__file__).parents[2] / "docs" / "doctor.md"
BEGINNING, END = "<!-- faults: made by `make docs` -->\n", "<!-- end of faults -->\n"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_service: RunningService) -> Iterator[Bench]:
    """A run without faults: a service, a key with a quota, no proxy."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEACHER_URL", one_service.url)
    with ExitStack() as stack:
        made = Bench(tmp_path, monkeypatch, one_service, stack)
        made.key()
        yield made


def _doctor(
    bench: Bench, settings: Mapping[str, Any], capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, Any]]:
    """The exit status, and the facts."""
    (bench.folder / "run.toml").write_text(
        f"""
data.name = "digits"
student.network = "resnet8"
method.name = "kd"
budget.n = 10
training = {{steps = 2, batch_size = 8, device = "cpu"}}
teacher = {{request_size = 4}}
output = {{directory = "{bench.folder}/run", cache = "{bench.folder}/cache.sqlite"}}
"""
    )
    overrides = [part for name, value in settings.items() for part in ("--set", f"{name}={_toml(value)}")]
    bench.patch.setattr(sys, "argv", ["distill-worker", "doctor", "run.toml", "--json", *overrides])
    with pytest.raises(SystemExit) as exited:
        main()
    return int(exited.value.code or 0), json.loads(capsys.readouterr().out)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name} = {_toml(one)}' for name, one in value.items())}}}"
    return json.dumps(value)


def test_run_without_faults_is_ready(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """And doctor leaves nothing behind: neither a directory nor a cache."""
    status, facts = _doctor(bench, {}, capsys)
    assert {finding["grade"] for finding in facts["findings"]} == {"ok"}, facts
    assert (status, facts["faults"], facts["warnings"]) == (0, 0, 0)
    checks = [finding["check"] for finding in facts["findings"]]
    assert checks[:4] == ["python", "packages", "pytorch", "configuration"]
    assert len(checks) == len(set(checks)) > 30
    assert sorted(path.name for path in bench.folder.iterdir()) == ["run.toml"]


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_fault_is_named_with_its_remedy(planted: Planted, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """It is the only one, and what does not depend on it is checked."""
    settings = planted.plant(bench)
    status, facts = _doctor(bench, settings, capsys)
    named, *others = [finding for finding in facts["findings"] if finding["grade"] in ("fault", "warning")]
    assert tuple(finding["check"] for finding in others) == planted.also
    assert (named["check"], named["grade"]) == (planted.check, planted.grade), facts
    assert planted.says in named["line"]
    assert named["remedy"] == planted.remedy
    assert status == (6 if planted.grade == "fault" else 0)


def test_faults_are_all_named_at_once(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Doctor goes on after a fault: a key, the data, the cache and the API key are wrong."""
    (bench.folder / "cache.sqlite").write_bytes(b"spoiled" * 1000)
    bench.patch.delenv("TEACHER_API_KEY")
    status, facts = _doctor(bench, {"training.step": 5, "data.name": "npz", "data.path": "absent.npz"}, capsys)
    faults = [finding["check"] for finding in facts["findings"] if finding["grade"] == "fault"]
    assert faults == ["configuration", "data", "cache-file", "api-key"]
    assert status == 6


def test_text_has_a_line_for_each_finding_and_its_remedy(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """What was not checked is one line for each reason."""
    bench.patch.delenv("TEACHER_API_KEY")
    _doctor(bench, {}, capsys)
    bench.patch.setattr(sys, "argv", ["distill-worker", "doctor", "run.toml"])
    with pytest.raises(SystemExit):
        main()
    printed, errors = capsys.readouterr()
    lines = printed.splitlines()
    [place] = [number for number, line in enumerate(lines) if line.startswith("fault ")]
    assert lines[place].startswith("fault        api-key: ")
    assert lines[place + 1].startswith("             to do: set TEACHER_API_KEY")
    [skipped] = [line for line in lines if line.startswith("not checked ")]
    assert skipped.startswith("not checked  teacher, image-shape, datatype, ")
    assert lines[-1].endswith(f"0 warning, 1 fault, {skipped.count(',') + 1} not checked")
    assert errors.splitlines()[-1] == "error: doctor: 1 fault; each one is above, with what to do. Nothing was spent"


@pytest.mark.parametrize("is_reached", [True, False])
def test_images_without_labels_take_the_classes_of_the_teacher(
    bench: Bench, capsys: pytest.CaptureFixture[str], is_reached: bool
) -> None:
    """Without the teacher they are read all the same, and what needs the classes is not checked."""
    unlabelled(bench.folder / "photos", samples=20)
    bench.patch.setenv("TEACHER_URL", bench.service.url if is_reached else closed_port(bench))
    bench.patch.setattr(
        sys,
        "argv",
        ["distill-worker", "doctor", "--data", "photos", "--n", "12", "--json", "--set", "training.steps=2"],
    )
    with pytest.raises(SystemExit):
        main()
    findings = {finding["check"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    graded = {grade: [name for name, one in findings.items() if one["grade"] == grade] for grade in ("ok", "fault")}
    if is_reached:
        assert graded["fault"] == []
        assert findings["data"]["line"].endswith("0 test images, 10 classes")
        assert "quota" in graded["ok"]
    else:
        assert graded["fault"] == ["reachable"]
        assert findings["data"]["line"].endswith("0 test images, the classes are the teacher's")
        assert findings["samples"]["grade"] == "not checked"


def test_nothing_is_spent(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    key = bench.service.new_key("nothing-spent", 100).token
    bench.patch.setenv("TEACHER_API_KEY", key)
    for settings in ({}, {"budget.n": 5000}, {"budget.n": 101}):
        _doctor(bench, settings, capsys)
    assert bench.service.quota(key)["used"] == 0


def test_page_has_the_table() -> None:
    check_part(PAGE, BEGINNING, END, f"\n{_table()}\n", remedy="make docs")


def _table() -> str:
    rows = [f"| {one.name} | {one.check} | `{_cell(one.says)}` | {_cell(one.remedy)} |" for one in PLANTED]
    return "\n".join(["| what is wrong | check | doctor says | to do |", "|---|---|---|---|", *rows]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
