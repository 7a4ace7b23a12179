"""Files that an earlier layout of the code wrote: they open, go on, and verify, and nothing is paid for again."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.end_to_end.processes import RunningService, join, start
from tests.endurance import ENDURANCE

ROOT = Path(__file__).parent.parent.parent
KEPT = ROOT / "tests" / "written_before" / "flat_layout"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what was written, with the repository's root as the working directory, as when it was."""
    monkeypatch.chdir(ROOT)
    return Path(shutil.copytree(KEPT, tmp_path / "files"))


def test_finished_run_is_still_finished(files: Path) -> None:
    before = (files / "finished" / "result.json").read_text()
    assert _train(files, "finished")["accuracy"] == json.loads(before)["accuracy"]
    assert (files / "finished" / "result.json").read_text() == before


def test_unfinished_run_goes_on_from_its_checkpoint(files: Path) -> None:
    settings = ["training.seed=1", "training.steps=4000", "training.checkpoint_every=50"]
    lines = list(range(80, 4001, 80))
    checkpoint = files / "unfinished" / "checkpoint.pt"
    before = torch.load(checkpoint, weights_only=True)["step"]
    assert before > 0
    _train_until_killed(files, *settings)
    assert torch.load(checkpoint, weights_only=True)["step"] == before + 3 * 50, "three more were saved, from there on"
    assert _logged_steps(files) == [step for step in lines if step <= before + 4 * 50]
    if ENDURANCE:
        assert _train(files, "unfinished", *settings)["steps"] == 4000
        assert not checkpoint.exists()
        assert _logged_steps(files) == lines


def test_ledger_goes_on_counting_and_the_cache_buys_only_what_it_lacks(files: Path) -> None:
    facts = json.loads((files / "facts.json").read_text())
    head = facts["verified"].split("head: ")[1].split("\n")[0]
    assert "problems: 0" in _service_says(files, "log", "verify", "--expect", head)
    weights = files / "teacher" / "student.safetensors"
    service = RunningService(weights, files, {"TEACHER_TRUST_CODE": "true"})
    service.start()
    try:
        key = facts["key"]["key"]
        assert service.quota(key)["used"] == 40
        bought = _worker(
            files,
            "fetch",
            *_set([f"output.cache={files / 'cache.sqlite'}", f"teacher.url={service.url}", "budget.n=50"]),
            "--yes",
            api_key=key,
        )
        assert bought["cached"] == 40
        assert bought["to_buy"] == 10
        assert service.quota(key)["used"] == 50
    finally:
        service.kill()
    assert "problems: 0" in _service_says(files, "log", "verify", "--expect", head)


def test_rotated_key_is_still_the_account_that_paid(files: Path) -> None:
    """The cache names it by a hash of the secret of that time; the ledger by the key's id."""
    key_id = json.loads((files / "facts.json").read_text())["key"]["id"]
    key = json.loads(_service_says(files, "keys", "rotate", key_id, "--json"))["key"]
    service = RunningService(files / "teacher" / "student.safetensors", files, {"TEACHER_TRUST_CODE": "true"})
    service.start()
    try:
        place = _set([f"output.cache={files / 'cache.sqlite'}", f"teacher.url={service.url}", "budget.n=40"])
        result = _worker(files, "reconcile", *place, api_key=key)
        assert (result["charged"], result["held"], result["differences"]) == (40, 40, 0)
        assert _worker(files, "fetch", *place, "--yes", api_key=key)["to_buy"] == 0
    finally:
        service.kill()


def _train(files: Path, directory: str, *settings: str) -> dict[str, Any]:
    places = [f"output.directory={files / directory}", f"output.cache={files / 'cache.sqlite'}", "output.report=false"]
    return _worker(files, "train", *_set([*places, *settings]))


def _logged_steps(files: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (files / "unfinished" / "metrics.jsonl").read_text().splitlines()]


def _train_until_killed(files: Path, *settings: str) -> None:
    """Train until a fourth checkpoint is about to be saved."""
    places = [f"output.directory={files / 'unfinished'}", f"output.cache={files / 'cache.sqlite'}"]
    arguments = ["train", str(files / "run.toml"), *_set([*places, *settings])]
    log = files / "killed.log"
    process = start("tests.end_to_end.dying_worker", arguments, log, {"DIE_AT": "checkpoint.pt:4"})
    join(process)
    assert process.exitcode == -signal.SIGKILL, log.read_text()


def _worker(files: Path, command: str, *arguments: str, api_key: str = "") -> dict[str, Any]:
    said = _call(files, "distill_worker", command, str(files / "run.toml"), "--json", *arguments, api_key=api_key)
    facts: dict[str, Any] = json.loads(said[said.index("{") :])
    return facts


def _service_says(files: Path, *arguments: str) -> str:
    return _call(files, "teacher_service", *arguments, "--data-dir", str(files))


def _call(files: Path, module: str, *arguments: str, api_key: str = "") -> str:
    log = files / f"{len(list(files.iterdir()))}.log"
    process = start(module, arguments, log, {"TEACHER_API_KEY": api_key})
    join(process)
    assert process.exitcode == 0, log.read_text()
    return log.read_text()


def _set(settings: list[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]
