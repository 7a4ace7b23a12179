"""Settings are chosen by cross-fitting: by the outputs alone, resumable, to the same bits."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError, RunError
from distill_worker.methods import METHODS
from distill_worker.runs.resolution import resolved
from distill_worker.runs.run_facts import identity_of
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.train_student import total_steps, train_student
from distill_worker.runs.tuning.candidates import Candidate
from distill_worker.runs.tuning.stage import check_tuning
from distill_worker.training.directory.run_directory import Note
from distill_worker.training.loop import Progress
from distill_worker.training.ranks.group import Ranks

N = 20
TUNING: Mapping[str, Any] = {
    "folds": 2,
    "term_weights": [1, 10],
    "weight_decays": [5e-4],
    "learning_rates": [0.01, 0.05],
    "first_steps": 3,
    "eta": 2,
}
"""Four candidates with one fold and 3 steps, the best two with both folds and 6 steps: 4 * 3 + 2 * 2 * 6 steps."""
TRIAL_STEPS = 36
_KILLED_RUN = """
import os, signal, sys
from tests.distill_worker.runs.tuning.test_stage import run
end = lambda step, loss: step == int(sys.argv[2]) and os.kill(os.getpid(), signal.SIGKILL)
run(sys.argv[1], end)
"""


class Stopped(BaseException):
    """The run is over, wherever it was."""


def _config(folder: Path, **sections: Any) -> RunConfig:
    document: dict[str, Any] = {
        "data": {"name": "digits"},
        "student": {"network": "resnet8"},
        "method": {"name": "kd"},
        "budget": {"n": N},
        "training": {"steps": 6, "batch_size": 8, "checkpoint_every": 4, "device": "cpu"},
        "tuning": TUNING,
        "output": {"directory": str(folder / "run"), "cache": str(folder / "cache.sqlite")},
    }
    for name, section in sections.items():
        document[name] = {**document.get(name, {}), **section} if isinstance(section, Mapping) else section
    return parse_config(document, source="test")


def _targets() -> dict[str, torch.Tensor]:
    return {"logits": 5 * torch.randn(N, 10, generator=torch.Generator().manual_seed(0))}


def run(
    folder: str | Path,
    progress: Progress = lambda _step, _loss: None,
    on_choice: Note = lambda _line: None,
    **sections: Any,
) -> dict[str, Any]:
    """Tune and train the test's student on targets that are drawn, not bought."""
    config = _config(Path(folder), **sections)
    return train_student(config, Samples.of(config), _targets(), "t", progress=progress, on_choice=on_choice)


def _left_in(folder: Path) -> list[bytes]:
    names = ("student.safetensors", "metrics.jsonl", "tuning/scores.json")
    return [(folder / "run" / name).read_bytes() for name in names]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was not interrupted."""
    folder = tmp_path_factory.mktemp("finished")
    run(folder)
    return folder


def test_result_holds_the_choice_and_every_score(finished: Path) -> None:
    """The best of the last rung is chosen, and the last rung has the best of the first."""
    tuning = json.loads((finished / "run" / "result.json").read_text())["tuning"]
    scores = tuning["scores"]
    first, last = scores[:4], scores[4:]
    assert [(score["trial_steps"], score["fold"]) for score in scores] == [(3, 0)] * 4 + [(6, 0), (6, 1)] * 2
    best_of_first = sorted(first, key=lambda score: float(score["divergence"]))[:2]
    assert [score["settings"] for score in last[::2]] == [score["settings"] for score in best_of_first]
    means = [(last[at]["divergence"] + last[at + 1]["divergence"]) / 2 for at in (0, 2)]
    assert tuning["divergence"] == min(means)
    assert tuning["chosen"] == last[2 * means.index(min(means))]["settings"]


def test_student_is_that_of_a_run_with_the_chosen_settings(finished: Path, tmp_path: Path) -> None:
    """To the last bit, with the same description in its file."""
    chosen = json.loads((finished / "run" / "result.json").read_text())["tuning"]["chosen"]
    config = _config(tmp_path, training={name: chosen[name] for name in ("weight_decay", "learning_rate")})
    method = config.method.scaled(chosen["term_weight"])
    config = config.model_copy(update={"tuning": None, "method": method})
    train_student(config, Samples.of(config), _targets(), "t")
    assert _left_in(finished)[0] == (tmp_path / "run" / "student.safetensors").read_bytes()


def _break_off(folder: Path, step: int) -> None:
    """Begin the run and break it off at a step, of all that it takes."""
    with pytest.raises(Stopped):
        run(folder, lambda done, _: _stop_at(done, step))


def _go_on(folder: Path) -> tuple[int, int]:
    """Go on with the run; the first and the last step that it takes."""
    steps = list[int]()
    run(folder, lambda step, _: steps.append(step))
    return steps[0], steps[-1]


@pytest.mark.parametrize("step", [17, TRIAL_STEPS + 5])
def test_killed_run_ends_with_the_same_bits(step: int, finished: Path, tmp_path: Path) -> None:
    """SIGKILL in a trial after its checkpoint, and while the student is trained."""
    command = [sys.executable, "-c", _KILLED_RUN, str(tmp_path), str(step)]
    killed = subprocess.run(command, check=False, cwd=Path(__file__).parents[4])
    assert killed.returncode == -signal.SIGKILL
    assert _go_on(tmp_path) == (step, TRIAL_STEPS + 6)
    assert _left_in(tmp_path) == _left_in(finished)


@pytest.mark.parametrize(("step", "goes_on_at"), [(1, 1), (8, 7), (12, 10), (16, 13), (24, 23), (36, 35), (37, 37)])
def test_run_that_breaks_off_repeats_one_trial_at_most(
    step: int, goes_on_at: int, finished: Path, tmp_path: Path
) -> None:
    """In a trial, before and after its checkpoint, at its last step, and at the student's first."""
    _break_off(tmp_path, step)
    assert _go_on(tmp_path) == (goes_on_at, TRIAL_STEPS + 6)
    assert _left_in(tmp_path) == _left_in(finished)
    assert [path.name for path in (tmp_path / "run" / "tuning").iterdir()] == ["scores.json"]


def test_progress_counts_the_steps_of_trials_and_student(tmp_path: Path) -> None:
    steps = list[int]()
    config = _config(tmp_path)
    run(tmp_path, lambda step, _: steps.append(step))
    assert steps == list(range(1, TRIAL_STEPS + 6 + 1))
    assert total_steps(config, N) == steps[-1]


def test_choice_is_said_in_one_line(tmp_path: Path) -> None:
    lines = list[str]()
    result = run(tmp_path, on_choice=lines.append)
    [line] = lines
    assert f"tuning chose {Candidate(**result['tuning']['chosen'])}, of 4 candidates" in line
    assert f"{result['tuning']['divergence']:.4f} nats; the next best" in line


def test_scores_need_neither_labels_nor_test_images(tmp_path: Path) -> None:
    """With no weight of the labels, wrong labels and other test images give the same scores."""
    method = {"label_weight": 0.0}
    right = run(tmp_path / "right", method=method)
    config = _config(tmp_path / "wrong", method=method)
    samples = Samples.of(config)
    images, labels = samples.dataset.test.images, samples.dataset.test.needed_labels
    test = replace(samples.dataset.test, images=255 - images[:100], labels=labels[:100])
    wrong = replace(
        samples,
        dataset=replace(samples.dataset, test=test),
        labels=(samples.dataset.train.needed_labels + 1) % 10,
        label_probabilities=samples.label_probabilities.roll(1, dims=1),
    )
    result = train_student(config, wrong, _targets(), "t")
    assert result["tuning"] == right["tuning"]
    assert (result["test_samples"], right["test_samples"]) == (100, len(images)), "the test images were others"


def test_members_of_an_ensemble_have_the_chosen_settings(tmp_path: Path) -> None:
    """Trials see bought samples alone; then the members and the student are trained, and the steps of all count."""
    steps = list[int]()
    sections: dict[str, Any] = {
        "track": "unlabelled-pool",
        "budget": {"n": N, "seed": 0},
        "self_training": {"rounds": 1, "members": 2},
        "tuning": {"term_weights": [10], "learning_rates": [0.05], "steps": [5], "folds": 2, "weight_decays": []},
    }
    lines = list[str]()
    result = run(tmp_path, lambda step, _: steps.append(step), on_choice=lines.append, **sections)
    assert "learning_rate 0.05, steps 5, of 1 candidate: its mean divergence" in lines[0]
    assert result["tuning"]["chosen"] == {"term_weight": 10.0, "learning_rate": 0.05, "steps": 5}
    assert (result["self_training"]["member_steps"], result["steps"]) == (5, 5)
    assert steps == list(range(1, total_steps(_config(tmp_path, **sections), N) + 1))
    member = tmp_path / "run" / "self-training" / "round-1" / "member-1" / "run.json"
    training = json.loads(member.read_text())["identity"]["training"]
    assert (training["learning_rate"], training["steps"]) == (0.05, 5)


def test_damaged_scores_are_an_error(tmp_path: Path) -> None:
    """The run is not lost: the message says what to do."""
    _break_off(tmp_path, 8)
    (tmp_path / "run" / "tuning" / "scores.json").write_text("{")
    with pytest.raises(RunError, match=r"scores\.json: cannot be read .*; restore it, or start again with --fresh"):
        run(tmp_path)


def test_diverged_trials_are_infinitely_bad(tmp_path: Path) -> None:
    """They are stored as null, and the others go on."""
    tuning = {"term_weights": [1], "learning_rates": [0.05, 1e30], "first_steps": 6}
    lines = list[str]()
    result = run(tmp_path, on_choice=lines.append, tuning=tuning)["tuning"]
    assert result["chosen"]["learning_rate"] == 0.05
    assert lines[0].endswith("; the next best, term_weight 1, weight_decay 0.0005, learning_rate 1e+30: diverged")
    diverged = [score for score in result["scores"] if score["settings"]["learning_rate"] == 1e30]
    assert [score["divergence"] for score in diverged] == [None, None]
    assert "Infinity" not in (tmp_path / "run" / "result.json").read_text()


def test_error_if_every_trial_diverges(tmp_path: Path) -> None:
    """The scores make the directory this run's own, so the message names the option, too."""
    message = r"tuning: .*got 1 that diverged; set lower values in tuning\.learning_rates, and train again with --fresh"
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, tuning={"term_weights": [1], "learning_rates": [1e30]})


def test_steps_may_be_chosen(tmp_path: Path) -> None:
    """Each candidate takes as large a part of its own steps; the bar ends where it should."""
    steps = list[int]()
    tuning = {"term_weights": [], "learning_rates": [], "steps": [4, 6, 8], "first_steps": 4}
    result = run(tmp_path, lambda step, _: steps.append(step), tuning=tuning)
    first, last = result["tuning"]["scores"][:3], result["tuning"]["scores"][3:]
    assert [score["trial_steps"] for score in first] == [2, 3, 4]
    assert [score["trial_steps"] for score in last] == [score["settings"]["steps"] for score in last]
    assert result["steps"] == result["tuning"]["chosen"]["steps"]
    assert steps[-1] == total_steps(_config(tmp_path, tuning=tuning), N)


def test_policy_of_augmentation_may_be_chosen(tmp_path: Path) -> None:
    """The student is that of a run with the chosen policy, whichever it is."""
    both = run(
        tmp_path / "both", tuning={"term_weights": [], "learning_rates": [], "policies": ["crop-flip", "strong"]}
    )
    scores = {score["settings"]["policy"]: score["divergence"] for score in both["tuning"]["scores"]}
    assert scores["crop-flip"] != scores["strong"]
    for policy in scores:
        forced = {"term_weights": [], "learning_rates": [], "policies": [policy]}
        run(tmp_path / policy, tuning=forced)
        config = _config(tmp_path / f"set-{policy}", augmentation={"policy": policy}, training={"weight_decay": 5e-4})
        config = config.model_copy(update={"tuning": None})
        train_student(config, Samples.of(config), _targets(), "t")
        assert _left_in(tmp_path / policy)[1] == (tmp_path / f"set-{policy}" / "run" / "metrics.jsonl").read_bytes()


def test_another_run_is_rejected_in_a_directory_with_scores(tmp_path: Path) -> None:
    """As in one with a checkpoint; with `fresh` the scores are moved aside with the run."""
    _break_off(tmp_path, 4)
    with pytest.raises(RunError, match=r"another run .tuning\.folds: 2 in the directory, 4 now"):
        run(tmp_path, tuning={"folds": 4})
    config = _config(tmp_path, tuning={"folds": 4})
    train_student(config, Samples.of(config), _targets(), "t", fresh=True)
    assert (tmp_path / "run" / "before-1" / "tuning" / "scores.json").exists()


def test_directory_of_a_run_that_trained_nothing_to_the_end_is_free(tmp_path: Path) -> None:
    """A first trial without a checkpoint or a score is no progress, and nothing of it stays."""
    _break_off(tmp_path, 2)
    config = _config(tmp_path, tuning={"folds": 4}).model_copy(update={"tuning": None})
    train_student(config, Samples.of(config), _targets(), "t")
    assert not (tmp_path / "run" / "tuning").exists()


def test_directory_with_the_checkpoint_of_a_first_trial_is_not_free(tmp_path: Path) -> None:
    """It goes on from there, and another run is rejected."""
    tuning = {"term_weights": [1], "learning_rates": [0.05]}
    with pytest.raises(Stopped):
        run(tmp_path, lambda step, _: _stop_at(step, 5), tuning=tuning)
    with pytest.raises(RunError, match="another run"):
        run(tmp_path, tuning={**tuning, "folds": 4})
    steps = list[int]()
    run(tmp_path, lambda step, _: steps.append(step), tuning=tuning)
    assert steps[0] == 5


def _stop_at(step: int, last: int) -> None:
    if step == last:
        raise Stopped


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.access == "black box"])
def test_trial_may_have_one_step(name: str, tmp_path: Path) -> None:
    settings = {"on": "log_probabilities"} if "on" in METHODS[name].model_fields else {}
    tuning = {"term_weights": [], "learning_rates": [], "temperatures": [], "steps": [1]}
    result = run(tmp_path, method={"name": name, **settings}, tuning=tuning)
    assert [score["trial_steps"] for score in result["tuning"]["scores"]] == [1, 1]


def test_identity_has_the_section_and_not_the_choice(finished: Path, tmp_path: Path) -> None:
    """A run without the section has the identity that earlier versions stored."""
    identity = json.loads((finished / "run" / "run.json").read_text())["identity"]
    assert identity["tuning"]["term_weights"] == [1.0, 10.0]
    assert identity["training"]["learning_rate"] == 0.05
    config = resolved(_config(tmp_path).model_copy(update={"tuning": None}))
    now = identity_of(config, Samples.of(config), {})
    stored = {name: value for name, value in now.values.items() if name != "tuning"}
    assert now.difference(stored) is None


def test_several_ranks_are_an_error(tmp_path: Path) -> None:
    config = _config(tmp_path)
    with pytest.raises(ConfigError, match="tuning: expected one process, got 2 ranks; nothing was spent"):
        train_student(config, Samples.of(config), _targets(), "t", ranks=Ranks(0, 2))
    assert not (tmp_path / "run").exists()


def test_method_must_learn_from_the_samples_outside_a_fold(tmp_path: Path) -> None:
    config = _config(tmp_path, method={"name": "rkd", "on": "log_probabilities"})
    check_tuning(config, num_classes=10, samples=6, ranks=1)
    message = (
        "^tuning: a trial has 2 samples, which are those outside a fold: method: rkd needs .* at least 3 .*, got 2"
    )
    with pytest.raises(ConfigError, match=message):
        check_tuning(config, num_classes=10, samples=4, ranks=1)
