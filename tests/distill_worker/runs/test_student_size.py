"""A student that sees images in another size than its teacher, from the training to the exported file."""

from pathlib import Path
from typing import Any

import pytest

from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.train_student import train_student
from distill_worker.training.evaluate import count_correct
from distill_worker.training.finished.student import load_student
from tests.distill_worker.fake_teacher import Crash

LARGE = (12, 10)


def _config(folder: Path, **sections: Any) -> RunConfig:
    return parse_config(
        {
            "data": {"name": "digits"},
            "method": {"name": "kd"},
            "budget": {"n": 30},
            "output": {"directory": str(folder)},
            **sections,
            "student": {"network": "resnet8", "image_size": list(LARGE), **sections.get("student", {})},
            "training": {"steps": 6, "batch_size": 8, "device": "cpu", **sections.get("training", {})},
        },
        source="test",
    )


def _trained(config: RunConfig, end_at: int | None = None) -> dict[str, Any]:
    samples = Samples.of(config)
    held_out = None if samples.held_out is None else {"logits": samples.held_out.images.flatten(1)[:, :10].float()}

    def progress(step: int, _loss: float) -> None:
        if step == end_at:
            raise Crash

    outputs = {"logits": samples.images.flatten(1)[:, :10].float()}
    return train_student(config, samples, outputs, "t", None, held_out, progress=progress)


def test_images_are_resized_for_the_student_alone(tmp_path: Path) -> None:
    """What is bought, and where it is kept, does not change; the file says how its network takes images."""
    config = _config(tmp_path / "large")
    samples = Samples.of(config)
    result = _trained(config)
    same_size = parse_config({**config.model_dump(mode="json"), "student": {"network": "resnet8"}}, source="test")
    assert samples.keys == Samples.of(same_size).keys
    student = load_student(tmp_path / "large")
    assert (student.card.image_size, student.card.resize) == ((8, 8), LARGE)
    assert student.input_shape == (1, *LARGE)
    test, card = samples.dataset.test, student.card
    assert student.inputs(test.images[:3]).shape == (3, 1, *LARGE)
    expected = count_correct(
        student.network, test.images, test.needed_labels, mean=card.mean, std=card.std, resize=LARGE
    )
    assert result["correct"] == expected


@pytest.mark.parametrize(
    "sections",
    [
        {"self_training": {"members": 2}, "track": "unlabelled-pool"},
        {"self_training": {"members": 2, "network": "resnet8x4"}, "track": "unlabelled-pool"},
        {"tuning": {"folds": 2, "term_weights": [1, 3], "first_steps": 2}},
        {"training": {"validation_share": 0.2}},
        {"data": {"name": "digits", "labels": "none"}},
        {"data": {"name": "digits", "labels": "none"}, "budget": {"n": 30, "holdout": 10}},
        {"augmentation": {"policy": "resized-crop"}},
        {"plus": [{"name": "ckd"}], "training": {"averaging": "swa"}},
    ],
    ids=["self-training", "other-members", "tuning", "validation", "cross-fitted", "held-out", "resized-crop", "swa"],
)
def test_every_stage_sees_the_size_of_the_student(sections: dict[str, Any], tmp_path: Path) -> None:
    config = _config(tmp_path, **sections)
    assert _trained(config)["test_samples"] == 500
    assert load_student(tmp_path).input_shape == (1, *LARGE)


def test_run_that_was_killed_goes_on_in_its_size(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    checkpoints = {"training": {"checkpoint_every": 2}}
    _trained(_config(whole, **checkpoints))
    with pytest.raises(Crash):
        _trained(_config(killed, **checkpoints), end_at=4)
    _trained(_config(killed, **checkpoints))
    assert (whole / "student.safetensors").read_bytes() == (killed / "student.safetensors").read_bytes()
