"""The fidelity of a run's student, with real trainings: what is compared, and where it resumes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.config.stages.self_training import SelfTraining
from distill_worker.errors import ConfigError, RunError, TrainingDiverged
from distill_worker.methods import Method
from distill_worker.runs.fidelity import measure
from distill_worker.runs.fidelity.cross_fitted import check_cross_fitting
from distill_worker.runs.fidelity.measure import notes
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.train_student import total_steps, train_student
from shared.normalise import normalise
from shared.weights import load_weights
from tests.distill_worker.fake_teacher import Crash

STEPS = 6


class _NeedsNine(Method):
    """A method that learns nothing from fewer than nine samples a batch."""

    name: str = "needs-nine"

    def why_not_on(self, _num_classes: int, batch: int) -> str | None:
        return None if batch >= 9 else f"needs a batch of 9 samples, got {batch}"


def _config(folder: Path, n: int, **budget: Any) -> RunConfig:
    return parse_config(
        {
            "data": {"name": "digits", "labels": "none"},
            "student": {"network": "resnet8"},
            "method": {"name": "kd"},
            "budget": {"n": n, **budget},
            "training": {"steps": STEPS, "batch_size": 8, "device": "cpu", "checkpoint_every": 2},
            "output": {"directory": str(folder)},
        },
        source="test",
    )


def _logits(images: torch.Tensor) -> torch.Tensor:
    """A teacher's logits of digits: the first row of pixels, in units of ink."""
    return images.flatten(1)[:, 20:30].float() / 64


def _trained(config: RunConfig, end_at: int | None = None) -> dict[str, Any]:
    """Train the student; end the process when so many steps are logged."""
    samples = Samples.of(config)
    held_out = None if samples.held_out is None else {"logits": _logits(samples.held_out.images)}

    def progress(step: int, _loss: float) -> None:
        if step == end_at:
            raise Crash

    targets = {"logits": _logits(samples.images)}
    return train_student(config, samples, targets, "t", None, held_out, progress=progress)


def test_held_out_samples_are_compared_and_never_trained_on(tmp_path: Path) -> None:
    """The figures are those of the stored student; the student is that of a run that knows nothing of these samples."""
    config = _config(tmp_path / "run", 40, holdout=15)
    samples = Samples.of(config)
    assert samples.held_out is not None
    result = _trained(config)
    assert (result["n"], result["calls"], result["accuracy"] is not None) == (40, 40, True)
    card, network, _ = load_weights(tmp_path / "run" / "student.safetensors")
    with torch.no_grad():
        student = network.eval()(normalise(samples.held_out.images, card.mean, card.std)).log_softmax(dim=1)
    teacher = _logits(samples.held_out.images).log_softmax(dim=1)
    fidelity = result["fidelity"]
    assert (fidelity["measured_on"], fidelity["samples"]) == ("held-out", 15)
    assert fidelity["agreement"] == pytest.approx(float((student.argmax(1) == teacher.argmax(1)).float().mean()))
    assert fidelity["kl"] == pytest.approx(float((teacher.exp() * (teacher - student)).sum(1).mean()), rel=1e-4)
    low, high = fidelity["kl_interval"]
    assert low < fidelity["kl"] < high
    alone = _config(tmp_path / "alone", 25, holdout=0)
    same = Samples.of(alone, samples.keys)
    train_student(alone, same, {"logits": _logits(same.images)}, "t")
    first, second = (load_weights(tmp_path / name / "student.safetensors")[1].state_dict() for name in ("run", "alone"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_every_sample_of_a_small_run_is_compared_once(tmp_path: Path) -> None:
    config = _config(tmp_path, 22)
    result = _trained(config)
    assert {name: result["fidelity"][name] for name in ("measured_on", "folds", "samples")} == {
        "measured_on": "cross-fitted",
        "folds": 5,
        "samples": 22,
    }
    folds = json.loads((tmp_path / "fidelity" / "folds.json").read_text(encoding="utf-8"))["folds"]
    assert sorted(len(fold["agree"]) for fold in folds) == [4, 4, 4, 5, 5]
    assert [path.name for path in (tmp_path / "fidelity").iterdir()] == ["folds.json"]
    assert total_steps(config, 22) == 6 * STEPS


def test_students_without_a_fold_take_as_many_steps_as_members(tmp_path: Path) -> None:
    """Neither has a pool: the student, a member and five folds."""
    config = _config(tmp_path, 22).model_copy(
        update={"track": "unlabelled-pool", "self_training": SelfTraining(members=1, member_steps=2)}
    )
    seen = list[int]()
    samples = Samples.of(config)
    targets = {"logits": _logits(samples.images)}
    train_student(config, samples, targets, "t", None, None, progress=lambda step, _loss: seen.append(step))
    assert max(seen) == total_steps(config, 22) == STEPS + (1 + 5) * 2


@pytest.mark.parametrize("step", [STEPS - 2, STEPS + 2, 3 * STEPS + 4, 6 * STEPS])
def test_cross_fitting_that_was_killed_goes_on_to_the_same_figures(step: int, tmp_path: Path) -> None:
    whole = _trained(_config(tmp_path / "whole", 22))
    with pytest.raises(Crash):
        _trained(_config(tmp_path / "killed", 22), end_at=step)
    assert _trained(_config(tmp_path / "killed", 22))["fidelity"] == whole["fidelity"]


def test_student_of_a_fold_that_diverges_costs_the_figure_and_not_the_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: Any) -> None:
        raise TrainingDiverged("by the test")

    monkeypatch.setattr(measure, "compared_by_fold", diverge)
    assert "fidelity" not in _trained(_config(tmp_path, 22))
    assert (tmp_path / "student.safetensors").exists()


def test_methods_are_checked_without_a_fold_before_anything_is_bought(tmp_path: Path) -> None:
    """Of 10 samples, 8 are outside a fold."""
    config = _config(tmp_path, 10)
    check_cross_fitting(config, num_classes=10)
    needing = config.model_copy(update={"plus": (_NeedsNine(),)})
    with pytest.raises(
        ConfigError, match=r"budget\.holdout: .*; or set budget\.holdout = 0, which measures no fidelity"
    ):
        check_cross_fitting(needing, num_classes=10)
    stated = needing.model_copy(update={"budget": needing.budget.model_copy(update={"holdout": 0})})
    check_cross_fitting(stated, num_classes=10)


def test_damaged_folds_are_named(tmp_path: Path) -> None:
    with pytest.raises(Crash):
        _trained(_config(tmp_path, 22), end_at=3 * STEPS)
    (tmp_path / "fidelity" / "folds.json").write_text("{")
    with pytest.raises(RunError, match=r"folds\.json: cannot be read .*; delete it, then the same command"):
        _trained(_config(tmp_path, 22))


def test_user_reads_on_what_the_student_is_compared(tmp_path: Path) -> None:
    def lines(n: int, **budget: Any) -> list[str]:
        config = _config(tmp_path, n, **budget)
        return notes(config, Samples.of(config))

    (held_out,), (folds,) = lines(300), lines(100)
    assert held_out.startswith("50 of the 300 samples were drawn at random and are held out")
    assert folds.startswith("5 further students are trained without a fifth of the samples each")
    assert lines(300, holdout=0) == []
