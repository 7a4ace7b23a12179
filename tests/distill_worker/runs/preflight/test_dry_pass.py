"""The dry pass lets every method through, on every kind of output; what it stops is in test_nothing_spent.py."""

from pathlib import Path
from typing import Any

import pytest

from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.methods.base import LOGITS
from distill_worker.runs.preflight import Lesson, Run
from distill_worker.runs.preflight import facts as facts_module
from distill_worker.runs.rounds import SelectedSamples
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.self_training.made_up import made_up
from distill_worker.training.teacher_logits import to_teacher_logits
from shared.output_kinds import OutputKind
from tests.end_to_end.test_every_method import VARIANTS

FEATURES = {"features.stage2": (32, 4, 4), "features.pooled": (64,)}


def _lesson(variant: dict[str, Any], folder: Path, output: str = LOGITS, **budget: Any) -> Lesson:
    config = parse_config(
        {
            **variant,
            "data": {"name": "digits"},
            "student": {"network": "resnet8"},
            "budget": {"n": 40, **budget},
            "training": {"device": "cpu"},
            "output": {"directory": folder / "run"},
        },
        source="test",
    )
    shapes = {
        output if kind == LOGITS else kind: OutputKind.parse(output).shape(10) if kind == LOGITS else FEATURES[kind]
        for kind in config.teacher_kinds
    }
    return Lesson(_run(config), shapes, "t")


def _run(config: RunConfig) -> Run:
    return Run(config, lambda: SelectedSamples(Samples.of(config), 1, 0, None))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_method_gets_through_and_nothing_is_written(variant: str, tmp_path: Path) -> None:
    assert _lesson(VARIANTS[variant], tmp_path).weights_bytes > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output", ["log_probabilities", "probabilities:3", "top_k:3:2", "top_k:20", "label"])
def test_every_output_gets_through(output: str, tmp_path: Path) -> None:
    assert _lesson({"method": {"name": "kd"}}, tmp_path, output).weights_bytes > 0


@pytest.mark.parametrize(
    "kind", ["logits", "log_probabilities", "probabilities", "probabilities:2", "top_k:2", "label"]
)
@pytest.mark.parametrize("classes", [2, 10])
def test_made_up_outputs_are_possible_ones(kind: str, classes: int) -> None:
    """The conversion to logits would reject others."""
    parsed = OutputKind.parse(kind)
    rows = made_up(parsed, parsed.shape(classes), 3)
    assert to_teacher_logits({kind: rows}, classes).targets[LOGITS].shape == (3, classes)


def test_lesson_that_is_like_another_needs_no_pass_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _lesson({"method": {"name": "kd"}}, tmp_path, n=200)
    second = _lesson({"method": {"name": "kd"}}, tmp_path / "second", n=220, seed=3)
    other = _lesson({"method": {"name": "kd", "temperature": 2.0}}, tmp_path, n=200)
    smaller = _lesson({"method": {"name": "kd"}}, tmp_path, n=20)
    assert first.likeness == second.likeness
    assert first.likeness not in (other.likeness, smaller.likeness)
    size = first.weights_bytes
    monkeypatch.setattr(facts_module, "dry_pass", lambda *_: pytest.fail("a second pass"))
    assert Lesson(second.run, second.outputs, "t", like=first).weights_bytes == size
