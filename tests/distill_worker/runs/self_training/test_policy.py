"""The policy of unbought images is tried on the bought outputs of the last round, which no trial learns from."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError, RunError
from distill_worker.experiments.engines.elsewhere import files_of, put_back
from distill_worker.runs.resolution import resolved
from distill_worker.runs.rounds import SelectedSamples, run_in_rounds
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.sampling.targets import Bought
from distill_worker.runs.self_training import policy
from distill_worker.runs.self_training.policy import PolicyChoice
from distill_worker.runs.train_student import total_steps, train_student
from distill_worker.training.loop import Progress
from tests.distill_worker.runs.self_training.test_stage import BrokenOffError, broken_off_at, config_in

N, POLICIES, TRIAL_STEPS = 24, 2, 2
JUDGED = Path("run/self-training/policy/judged.safetensors")


def _config(folder: Path, **sections: Any) -> RunConfig:
    own = {"rounds": 1, "policy": "auto", "member_steps": 4 * TRIAL_STEPS, **sections.pop("self_training", {})}
    budget = {"n": N, "strategy": "margin", "rounds": 2}
    return config_in(folder, **{"budget": budget, "self_training": own, **sections})


def _no_steps(_step: int, _loss: float) -> None:
    """Nothing is shown."""


def _run(
    folder: Path,
    progress: Progress = _no_steps,
    outputs_of: Callable[[Samples], torch.Tensor] = lambda samples: 5 * samples.label_probabilities,
    **sections: Any,
) -> tuple[dict[str, Any], list[str]]:
    """The result of a run in two rounds, with a teacher that knows the labels, and the lines about its choices."""
    lines = list[str]()

    def buy(selected: SelectedSamples) -> Bought:
        return Bought({"logits": outputs_of(selected.samples)}, "t", None)

    def train(config: RunConfig, samples: Samples, bought: Bought) -> dict[str, Any]:
        last = config.output.directory == folder / "run"
        shown = progress if last else _no_steps
        return train_student(config, samples, bought.targets, "t", progress=shown, on_choice=lines.append)

    return run_in_rounds(_config(folder, **sections), buy=buy, train=train), lines


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was not disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    _run(folder)
    return folder


@pytest.mark.parametrize(
    ("more", "chosen"),
    [
        ([0.3, -0.1, 0.2, -0.2], "half-strong"),  # 0.05, with a standard error of 0.12
        ([0.3, 0.1, 0.2, 0.2], "crop-flip"),  # 0.2, with one of 0.04
        ([-0.3, -0.1, -0.2, -0.2], "half-strong"),
        ([0.1], "crop-flip"),
        ([0.0], "half-strong"),
    ],
)
def test_crop_flip_is_chosen_where_it_is_clearly_better(more: list[float], chosen: str) -> None:
    choice = PolicyChoice.of({"crop-flip": torch.ones(len(more)), "half-strong": 1 + torch.tensor(more)})
    assert choice.policy == chosen
    assert choice.divergences == {"crop-flip": 1, "half-strong": pytest.approx(1 + sum(more) / len(more))}
    if len(more) > 1:
        error = statistics.stdev(more) / len(more) ** 0.5
        assert choice.facts["policy_standard_error"] == {"crop-flip": pytest.approx(error)}


def test_chosen_policy_is_named(tmp_path: Path) -> None:
    result, lines = _run(tmp_path)
    facts = result["self_training"]
    assert list(facts["policy_divergence"]) == ["crop-flip", "half-strong"]
    assert f"self-training: the policy {facts['policy']}: " in lines[0]
    left = sorted(path.relative_to(tmp_path) for path in (tmp_path / "run/self-training/policy").rglob("*.safetensors"))
    assert left == [JUDGED], "the weights of the trials are deleted"


@pytest.mark.parametrize(
    ("of_half_strong", "chosen", "distorted"), [([0.1, 0.1], "half-strong", 1), ([0.3, 0.3], "crop-flip", 0)]
)
def test_members_follow_the_chosen_policy(
    of_half_strong: list[float], chosen: str, distorted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    divergences = iter([torch.tensor([0.2, 0.2]), torch.tensor(of_half_strong)])
    monkeypatch.setattr(policy, "divergences_at_best_scale", lambda _teacher, _said: next(divergences))
    result, _ = _run(tmp_path, self_training={"members": 1, "distorted_members": 1})
    assert (result["self_training"]["policy"], result["self_training"]["distorted_members"]) == (chosen, distorted)
    assert _policy_of_member(tmp_path) == chosen


def _policy_of_member(folder: Path) -> str:
    member = json.loads((folder / "run/self-training/round-1/member-1/run.json").read_text())
    return str(member["identity"]["augmentation"]["policy"])


def test_trials_learn_nothing_of_what_judges_them(finished: Path, tmp_path: Path) -> None:
    """With other outputs of the last round alone, the students of the trials say the same of its samples."""

    def outputs_of(samples: Samples) -> torch.Tensor:
        outputs = 5 * samples.label_probabilities
        outputs[N // 2 :] = outputs[N // 2 :].roll(1, dims=1)
        return outputs

    _run(tmp_path, outputs_of=outputs_of)
    ours, theirs = (load_file(folder / JUDGED)["log_probabilities"] for folder in (tmp_path, finished))
    assert ours.shape == (POLICIES * N // 2, 10)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("last", [1, TRIAL_STEPS + 2, POLICIES * TRIAL_STEPS + 1])
def test_run_that_breaks_off_ends_with_the_same_bits(last: int, finished: Path, tmp_path: Path) -> None:
    """In the first trial, in the second one, and when all are done."""
    with pytest.raises(BrokenOffError):
        _run(tmp_path, broken_off_at(last))
    _run(tmp_path)
    for file in (JUDGED, Path("run/student.safetensors")):
        assert (tmp_path / file).read_bytes() == (finished / file).read_bytes()


def test_run_goes_on_where_its_files_travelled_to(finished: Path, tmp_path: Path) -> None:
    """On a machine that does not see the folder of the comparison: the student that selected is needed there."""
    with pytest.raises(BrokenOffError):
        _run(tmp_path / "here", broken_off_at(TRIAL_STEPS + 2))
    put_back(tmp_path / "there/run", files_of(tmp_path / "here/run"))
    _run(tmp_path / "there")
    for file in (JUDGED, Path("run/student.safetensors")):
        assert (tmp_path / "there" / file).read_bytes() == (finished / file).read_bytes()


def test_steps_of_trials_are_among_those_of_the_run(tmp_path: Path) -> None:
    steps = list[int]()
    _run(tmp_path, lambda step, _loss: steps.append(step))
    config = _config(tmp_path)
    assert steps == list(range(1, total_steps(resolved(config), N) + 1))
    trials = total_steps(resolved(config), N) - total_steps(
        resolved(_config(tmp_path, self_training={"policy": "strong"})), N
    )
    assert trials == POLICIES * TRIAL_STEPS


def test_trials_are_paid_from_the_budget_of_the_run(tmp_path: Path) -> None:
    """The student that selects, two members, two trials of a quarter, and the student: 4.5 trainings."""
    training = {"budget": 450, "steps": 600}
    config = _config(tmp_path, self_training={"member_steps": None}, training=training)
    assert resolved(config).training.steps == 100


def test_lost_student_of_the_selection_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BrokenOffError):
        _run(tmp_path, broken_off_at(1))
    (tmp_path / "run/rounds/0001/student.safetensors").unlink()
    with pytest.raises(
        RunError, match=r"rounds/0001/student\.safetensors: .*; restore it, or state self_training\.policy"
    ):
        _run(tmp_path)


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"budget": {"n": N, "rounds": 1}}, "expected budget.rounds above 1 beside policy = 'auto', .* got 1"),
        ({"track": "queried"}, "expected the track 'unlabelled-pool' beside policy = 'auto', .* got 'queried'"),
        ({"method": {"name": "ce"}, "plus": []}, "expected a method that buys .* which self_training.policy needs"),
    ],
)
def test_policy_without_a_judge_is_an_error(sections: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"self_training: {expected}"):
        _config(tmp_path, **sections)
