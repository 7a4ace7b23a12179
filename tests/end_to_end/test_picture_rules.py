"""Outputs that were bought of pictures as an earlier version read them are used, and never bought again unasked."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill_worker.cli.command import main
from distill_worker.experiments.analyses.finished_run import config_of, finished_run
from distill_worker.training.finished.student import load_student
from tests.end_to_end.processes import RunningService
from tests.end_to_end.turned_digits import TURNED, UPRIGHT, turned_digits

WHOLE = 10 * (TURNED + UPRIGHT)
Worker = Callable[..., dict[str, Any]]


@pytest.fixture
def key(one_service: RunningService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of an account that may buy all images twice."""
    monkeypatch.setenv("TEACHER_URL", one_service.url)
    key = one_service.create_key(tmp_path.name, 2 * WHOLE)
    monkeypatch.setenv("TEACHER_API_KEY", key)
    return key


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Worker:
    """Runs a command on the digits, and returns what it prints."""
    file = tmp_path / "run.toml"
    file.write_text('student.network = "resnet8"\nmethod.name = "kd"\n')
    settings = {
        "training.steps": 2,
        "training.device": "cpu",
        "teacher.expect_agreement": False,
        "output.cache": str(tmp_path / "cache.sqlite"),
        **turned_digits(tmp_path),
    }

    def run(command: str, directory: str = "run", **more: Any) -> dict[str, Any]:
        values = settings | {"budget.n": WHOLE, "output.directory": str(tmp_path / directory)} | more
        overrides = [part for name, value in values.items() for part in ("--set", f"{name}={json.dumps(value)}")]
        monkeypatch.setattr(sys, "argv", ["distill-worker", command, str(file), *overrides, "--yes", "--json"])
        try:
            main()
        except SystemExit as ended:
            if ended.code:
                raise
        printed: dict[str, Any] = json.loads(capsys.readouterr().out)
        return printed

    return run


def test_images_bought_by_the_first_rules_are_found_by_them_or_bought_again_when_the_user_says_so(
    one_service: RunningService, key: str, worker: Worker, capsys: pytest.CaptureFixture[str]
) -> None:
    worker("fetch", **{"data.rules": 1})
    assert one_service.quota(key)["used"] == WHOLE
    with pytest.raises(SystemExit):
        worker("run", "new")
    assert f"data.rules: expected 1 or 2, because outputs of {10 * TURNED} images were" in capsys.readouterr().err
    assert one_service.quota(key)["used"] == WHOLE
    worker("run", "first", **{"data.rules": 1})
    assert one_service.quota(key)["used"] == WHOLE
    worker("run", "newest", **{"data.rules": 2})
    assert one_service.quota(key)["used"] == WHOLE + 10 * TURNED


def test_refusal_is_repeated_although_a_selection_is_on_disk(
    one_service: RunningService, key: str, worker: Worker, capsys: pytest.CaptureFixture[str]
) -> None:
    worker("fetch", **{"data.rules": 1})
    for _ in range(2):
        with pytest.raises(SystemExit):
            worker("fetch", "new", **{"budget.n": 20, "budget.strategy": "k-center"})
        assert "data.rules: expected 1 or 2" in capsys.readouterr().err
    assert one_service.quota(key)["used"] == WHOLE


def test_views_that_were_bought_by_the_first_rules_are_seen(
    one_service: RunningService, key: str, worker: Worker, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is bought is a crop of each image, which has a key of its own."""
    views = {"augmentation.query_view": "augmented"}
    worker("fetch", **views, **{"data.rules": 1})
    with pytest.raises(SystemExit):
        worker("fetch", "new", **views)
    assert f"data.rules: expected 1 or 2, because outputs of {10 * TURNED} images" in capsys.readouterr().err
    assert one_service.quota(key)["used"] == WHOLE


def test_run_of_an_earlier_version_goes_on_by_its_rules(
    one_service: RunningService, key: str, worker: Worker, tmp_path: Path
) -> None:
    """It did not name them."""
    before = worker("run", **{"data.rules": 1})
    _forget_rules(tmp_path / "run" / "run.json")
    assert worker("run")["accuracy"] == before["accuracy"]
    config = config_of(tmp_path / "run", cache=tmp_path / "cache.sqlite", root=tmp_path, path=tmp_path / "photos")
    finished_run(config, load_student(tmp_path / "run"))  # an error if the data were others
    assert one_service.quota(key)["used"] == WHOLE


def test_run_goes_on_by_its_rules_when_outputs_by_others_are_there(
    one_service: RunningService, key: str, worker: Worker
) -> None:
    before = worker("run", "new")
    worker("fetch", "old", **{"data.rules": 1})
    assert worker("run", "new") == before
    assert one_service.quota(key)["used"] == WHOLE + 10 * TURNED


def test_selections_of_an_earlier_version_go_on_by_their_rules(
    one_service: RunningService, key: str, worker: Worker, tmp_path: Path
) -> None:
    """Those of a strategy that computes them, which are saved before there is a run."""
    chosen = {"budget.n": 20, "budget.strategy": "k-center"}
    worker("fetch", **chosen, **{"data.rules": 1})
    _forget_rules(tmp_path / "run" / "rounds" / "0001.json")
    worker("run", **chosen)
    assert one_service.quota(key)["used"] == 20


def _forget_rules(path: Path) -> None:
    """As if an earlier version had written the file."""
    content = json.loads(path.read_text())
    identity = content.get("identity") or content["of"]
    assert identity.pop("picture_rules") == 1
    path.write_text(json.dumps(content))
