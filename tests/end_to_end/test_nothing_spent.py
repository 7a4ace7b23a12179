"""Every check of the registry ends `plan`, `fetch` and `run` before a call is spent: the teacher's `used` stays 0.

`plan` and `run` are tried with the first fault of a check, `fetch` with all.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill_worker.cache import Cache
from distill_worker.cli.command import main
from distill_worker.config.load import load_config
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import WorkerError
from distill_worker.runs import preflight, purchase
from distill_worker.runs.preflight import CHECKS, Check
from distill_worker.runs.sampling.samples import Samples
from shared.exit_status import ExitStatus
from teacher_service.policy.output_policy import OutputPolicy
from tests.end_to_end.preflight_faults import FAULTS
from tests.end_to_end.preflight_planting import CONFIG, FILE, REJECTED, Earlier, Fault, below_a_file, locks, npz_file
from tests.end_to_end.processes import RunningService
from tests.foreign.oip_server import served


@pytest.fixture(autouse=True)
def _released() -> Iterator[None]:
    yield
    while locks:
        os.close(locks.pop())


def test_every_check_has_a_fault() -> None:
    assert {check.name for check in CHECKS} == FAULTS.keys()


@pytest.mark.parametrize(
    ("name", "fault", "command"),
    [
        pytest.param(name, fault, command, id=f"{name}-{number}-{command}")
        for name, faults in FAULTS.items()
        for number, fault in enumerate(faults)
        for command in (fault.commands[:1] if number else fault.commands)
    ],
)
def test_nothing_is_spent(
    name: str,
    fault: Fault,
    command: str,
    one_service: RunningService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = _config(tmp_path)
    settings = {**fault.settings, **fault.before(tmp_path, monkeypatch)}
    with _teacher(fault, one_service, tmp_path.name, monkeypatch) as used:
        if fault.earlier is not None:
            _write_earlier(fault.earlier, load_config(config, _overrides(settings)[1::2]))
        arguments = (*_overrides(settings), *fault.arguments)
        monkeypatch.setattr(sys, "argv", ["distill-worker", command, str(config), *arguments])
        failed = _failed_checks(monkeypatch)
        with pytest.raises(SystemExit) as exited:
            main()
        ended = capsys.readouterr()
        assert fault.message in ended.err
        if (name, command) != ("samples", "run"):  # a run in rounds selects its samples before the checks
            assert failed[:1] == [name]
        assert exited.value.code == fault.status
        assert used() == 0


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in ("limit", "cache")])
def test_doctor_names_the_fault(
    name: str,
    one_service: RunningService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With what to do. It has no option --max-calls, and a cache that is absent has no leases yet."""
    fault, config = FAULTS[name][0], _config(tmp_path)
    settings = {**fault.settings, **fault.before(tmp_path, monkeypatch)}
    with _teacher(fault, one_service, f"{tmp_path.name}-doctor", monkeypatch) as used:
        if fault.earlier is not None:
            _write_earlier(fault.earlier, load_config(config, _overrides(settings)[1::2]))
        monkeypatch.setattr(sys, "argv", ["distill-worker", "doctor", str(config), *_overrides(settings), "--json"])
        with pytest.raises(SystemExit) as exited:
            main()
        findings = json.loads(capsys.readouterr().out)["findings"]
        [named] = [finding for finding in findings if fault.message in finding["line"]]
        assert (named["grade"], exited.value.code) == ("fault", ExitStatus.DIFFERENCE)
        assert named["remedy"]
        assert used() == 0


COMPARED = {
    "a network": Fault("student.network: a CIFAR resnet has depth", CONFIG, {"network": "resnet9"}),
    "a layer of one method": Fault("the network has no layer 'absent'", CONFIG, {"layer": "absent"}),
    "a device": Fault("training.device: expected a CUDA device", CONFIG, {"device": "cuda"}),
    "the data": Fault("data: expected 10 classes", REJECTED, before=npz_file(classes=3)),
    "a tracker": Fault("output.trackers: expected", CONFIG, {"trackers": "none-such"}),
    "the directory of one student": Fault("cannot write to it", FILE, before=below_a_file("directory")),
}
"""Faults of a comparison, whose file is made from these values."""


@pytest.mark.parametrize("name", COMPARED)
def test_nothing_is_spent_on_a_comparison(
    name: str,
    one_service: RunningService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One cell of several has the fault, or all have it."""
    fault = COMPARED[name]
    settings = {**fault.settings, **fault.before(tmp_path, monkeypatch)}
    with _teacher(fault, one_service, tmp_path.name, monkeypatch) as used:
        monkeypatch.setattr(sys, "argv", ["distill-worker", "compare", str(_comparison(tmp_path, settings)), "--yes"])
        with pytest.raises(SystemExit) as exited:
            main()
        assert fault.message in capsys.readouterr().err
        assert exited.value.code == fault.status
        assert used() == 0


def _failed_checks(monkeypatch: pytest.MonkeyPatch) -> Sequence[str]:
    """The names of the checks that raise from now on."""
    failed: list[str] = []

    def recorded(check: Check[Any]) -> Check[Any]:
        def run(facts: Any) -> None:
            try:
                check.run(facts)
            except WorkerError:
                failed.append(check.name)
                raise

        return replace(check, run=run)

    for stage in ("WITHOUT_TEACHER", "WITH_DESCRIPTION", "WITH_OUTPUTS", "WITH_CACHE", "WITH_PLAN"):
        monkeypatch.setattr(preflight, stage, tuple(map(recorded, getattr(preflight, stage))))
    return failed


def _write_earlier(earlier: Earlier, config: RunConfig) -> None:
    with purchase.connect(config) as (teacher, description), Cache(config.output.cache) as cache:
        earlier(cache, Samples.of(config), teacher, description)


@contextmanager
def _teacher(
    fault: Fault, service: RunningService, name: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], int]]:
    """The fault's teacher, in the environment; what it charged."""
    if fault.foreign is not None:
        model = fault.foreign()
        with served(model) as url:
            monkeypatch.setenv("TEACHER_URL", url)
            yield lambda: sum(model.charged)
        return
    key = service.new_key(name, fault.quota, outputs=OutputPolicy.parse("logits,features"))
    monkeypatch.setenv("TEACHER_URL", service.url)
    monkeypatch.setenv("TEACHER_API_KEY", key.token)
    yield lambda: int(service.quota(key.token)["used"])


def _config(folder: Path) -> Path:
    path = folder / "run.toml"
    path.write_text(
        f"""
data.name = "digits"
student.network = "resnet8"
method.name = "kd"
budget.n = 10
training = {{steps = 2, batch_size = 8, device = "cpu"}}
teacher = {{give_up_after_seconds = 0, request_size = 4}}
output = {{directory = "{folder}/run", cache = "{folder}/cache.sqlite"}}
"""
    )
    return path


def _comparison(folder: Path, settings: Mapping[str, Any]) -> Path:
    path = folder / "comparison.toml"
    path.write_text(
        f"""
data = {{name = "{settings.get("data.name", "digits")}"{_path_of(settings)}}}
student.network = "{settings.get("network", "resnet8")}"
training = {{steps = 2, batch_size = 8, device = "{settings.get("device", "cpu")}"}}
teacher = {{give_up_after_seconds = 0, request_size = 4}}

[compare]
directory = "{settings.get("directory", folder / "compared")}"
n = [10]
seeds = 2
trackers = {json.dumps([settings["trackers"]] if "trackers" in settings else [])}
methods = [
    {{label = "CE", method = {{name = "ce"}}}},
    {{label = "KD", method = {{name = "kd"}}}},
    {{label = "CKD", method = {{name = "ckd", on = "features", student_layer = "{settings.get("layer", "pooled")}"}}}},
]
"""
    )
    return path


def _path_of(settings: Mapping[str, Any]) -> str:
    return f', path = "{settings["data.path"]}"' if "data.path" in settings else ""


def _overrides(settings: Mapping[str, Any]) -> list[str]:
    return [part for name, value in settings.items() for part in ("--set", f"{name}={json.dumps(value)}")]
