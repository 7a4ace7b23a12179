"""`training.budget`: what all trainings of a run may take together becomes the steps of each."""

from pathlib import Path
from typing import Any

import pytest
import torch

from distill_worker.errors import ConfigError
from distill_worker.runs.resolution import resolved
from distill_worker.runs.rounds import config_of_round, selected_samples
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.self_training.members import steps_of_policy_trials
from distill_worker.runs.train_student import begun
from distill_worker.runs.tuning import pace
from tests.distill_worker.runs.self_training.test_stage import BrokenOffError, broken_off_at, config_in, run

_QUERIED: dict[str, Any] = {"track": "queried", "self_training": {"rounds": 1, "members": 4, "member_steps": None}}


def _steps(folder: Path, budget: int | str, **self_training: Any) -> int:
    stage = _QUERIED["self_training"] | self_training
    return resolved(config_in(folder, track="queried", self_training=stage, training={"budget": budget})).training.steps


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of a step, which the measurements take one after the other."""
    left = list[float]()
    monkeypatch.setattr(pace, "seconds_a_step", lambda *_: left.pop(0))
    return left


def test_steps_are_divided_among_the_trainings(tmp_path: Path) -> None:
    """Four members and the student take as many each; where those of a member are stated, the student has the rest."""
    assert _steps(tmp_path, 503) == 100
    assert _steps(tmp_path, 503, member_steps=20) == 423
    alone = config_in(tmp_path, training={"budget": 503}, track="queried", self_training=None)
    assert resolved(alone).training.steps == 503
    with pytest.raises(
        ConfigError, match=r"training\.budget: expected enough for a step of each of 5 trainings, got 4"
    ):
        _steps(tmp_path, 4)


def test_trials_of_a_policy_are_as_long_as_the_members_make_them(tmp_path: Path) -> None:
    """A student that selects, four members, two trials of a quarter of a member's steps, and the student."""
    in_two = {"n": 40, "strategy": "margin", "rounds": 2}
    steps = {}
    for member_steps in (None, 40):
        stage = {"rounds": 1, "members": 4, "member_steps": member_steps, "policy": "auto"}
        config = config_in(tmp_path, self_training=stage, budget=in_two, training={"budget": 650})
        run_of_steps = resolved(config)
        steps[member_steps] = run_of_steps.training.steps
        assert steps_of_policy_trials(run_of_steps) == 2 * ((member_steps or steps[None]) // 4)
    assert steps == {None: 100, 40: 650 - 5 * 40 - 2 * 10}


def test_time_is_divided_by_what_steps_of_members_and_student_take(tmp_path: Path, speeds: list[float]) -> None:
    """60 s for four members at 1/8 s a step, and the student at 1/4 s."""
    config = config_in(tmp_path, **_QUERIED, training={"budget": "1 min"})
    speeds += [0.125, 0.25]
    samples = Samples.of(config)
    began = begun(config, samples, {"logits": torch.randn(len(samples.images), 10)})
    assert (began.training.steps, began.training.budget) == (80, None)


def test_steps_are_divided_among_the_trainings_of_all_rounds(tmp_path: Path) -> None:
    """A student that selects, four members and the student; alone, a student of each of three rounds."""
    in_two = {"n": 40, "strategy": "margin", "rounds": 2}
    config = config_in(tmp_path, **_QUERIED, budget=in_two, training={"budget": 606})
    assert resolved(config).training.steps == 101
    alone = config_in(tmp_path, budget={**in_two, "rounds": 3}, track="queried", self_training=None)
    training = alone.training.model_copy(update={"budget": 302})
    assert resolved(alone.model_copy(update={"training": training})).training.steps == 100


@pytest.mark.parametrize(("member_steps", "selecting", "last"), [(None, 80, 68), (40, 40, 140)])
def test_time_is_divided_among_the_trainings_of_all_rounds(
    tmp_path: Path, speeds: list[float], member_steps: int | None, selecting: int, last: int
) -> None:
    """60 s: a sixth for the student that selects, at 1/8 s a step; then that of the others, as far as it was taken."""
    sections = {**_QUERIED, "self_training": {"rounds": 1, "members": 4, "member_steps": member_steps}}
    config = config_in(
        tmp_path, **sections, budget={"n": 40, "strategy": "margin", "rounds": 2}, training={"budget": "1 min"}
    )
    selected = selected_samples(config, keep=False)
    outputs = {"logits": torch.randn(len(selected.samples.images), 10)}
    speeds += [0.125] * (member_steps is None)
    assert begun(config_of_round(config, selected), selected.samples, outputs).training.steps == selecting
    speeds += [0.125, 0.25]
    assert begun(config, selected.samples, outputs).training.steps == last


@pytest.mark.parametrize(("budget", "seconds"), [("90 s", 90), ("1.5min", 90), ("2 h", 7200), (90, None)])
def test_time_has_a_unit(tmp_path: Path, budget: int | str, seconds: float | None) -> None:
    assert config_in(tmp_path, training={"budget": budget}).training.seconds == seconds


@pytest.mark.parametrize("budget", [0, "2", "0 s", "two minutes", "-1 min", "1e3 s", 2.5, True])
def test_budget_that_is_neither_is_an_error(tmp_path: Path, budget: object) -> None:
    with pytest.raises(ConfigError, match=r"training\.budget"):
        config_in(tmp_path, training={"budget": budget})


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"training": {"budget": 9, "stop_after_steps": 3}}, "training: budget: expected no value with"),
        ({"training": {"budget": 9}, "tuning": {}}, "tuning: expected no training.budget, .*, got 9"),
    ],
)
def test_budget_beside_another_end_is_an_error(tmp_path: Path, sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_in(tmp_path, **sections)


def test_speed_is_measured_by_real_steps_and_changes_no_bit(tmp_path: Path) -> None:
    """The run has the bits of one whose file states the steps."""
    timed = run(tmp_path / "timed", **_QUERIED, training={"budget": "1 s"})
    assert timed["steps"] >= 1
    run(tmp_path / "stated", **_QUERIED, training={"steps": timed["steps"]})
    weights = [(tmp_path / name / "run" / "student.safetensors").read_bytes() for name in ("timed", "stated")]
    assert weights[0] == weights[1]


def test_run_that_began_keeps_its_steps_whatever_the_speed_is_now(tmp_path: Path, speeds: list[float]) -> None:
    sections = {**_QUERIED, "training": {"budget": "1 s"}}
    speeds += [0.0625, 0.0625]
    with pytest.raises(BrokenOffError):
        run(tmp_path, broken_off_at(7), **sections)
    assert run(tmp_path, **sections)["steps"] == 3, "nothing was measured: no speed is left"
    assert run(tmp_path, **{**_QUERIED, "training": {"steps": 3}})["steps"] == 3, "the same run"


def test_ranks_have_no_common_speed(tmp_path: Path) -> None:
    config = config_in(tmp_path, training={"budget": "1 s"}, track="queried", self_training=None)
    with pytest.raises(ConfigError, match=r"training\.budget: expected a number of steps for 2 ranks, .*, got '1 s'"):
        begun(config, Samples.of(config), {}, ranks=2)
