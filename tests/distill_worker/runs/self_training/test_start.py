"""A student's training may start from the weights of a member of the last ensemble."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from distill_worker.errors import ConfigError, RunError
from tests.distill_worker.runs.self_training.test_stage import (
    BEFORE_STUDENT,
    STEPS,
    BrokenOffError,
    broken_off_at,
    config_in,
    run,
)

FROM_MEMBER: dict[str, Any] = {"self_training": {"start": "member"}}
FIRST_OF_LAST_ROUND = Path("self-training/round-2/member-1/student.safetensors")


def _weights(file: Path) -> dict[str, torch.Tensor]:
    """Those that an optimiser changes."""
    return {name: values for name, values in load_file(file).items() if name.endswith("weight")}


@pytest.mark.parametrize(
    ("sections", "place"),
    [
        ({}, FIRST_OF_LAST_ROUND),
        (
            {"track": "queried", "self_training": {"rounds": 1}},
            Path("self-training/round-1/member-1/student.safetensors"),
        ),
    ],
)
def test_student_starts_from_the_first_member_of_the_last_round(
    sections: dict[str, Any], place: Path, tmp_path: Path
) -> None:
    """Steps of no length show where it started."""
    own = {**FROM_MEMBER["self_training"], **sections.get("self_training", {})}
    run(tmp_path, **{**sections, "self_training": own}, training={"learning_rate": 1e-12, "weight_decay": 0})
    member, student = (_weights(tmp_path / "run" / file) for file in (place, Path("student.safetensors")))
    assert all(torch.allclose(values, member[name], atol=1e-6) for name, values in student.items())
    run(tmp_path / "fresh", **sections, training={"learning_rate": 1e-12, "weight_decay": 0})
    fresh = _weights(tmp_path / "fresh" / "run" / "student.safetensors")
    assert not any(
        torch.allclose(values, fresh[name], atol=1e-6) for name, values in student.items() if values.ndim > 1
    )


def test_only_that_member_keeps_its_weights(tmp_path: Path) -> None:
    run(tmp_path, **FROM_MEMBER)
    left = (tmp_path / "run" / "self-training").rglob("student.safetensors")
    assert list(left) == [tmp_path / "run" / FIRST_OF_LAST_ROUND]


@pytest.mark.parametrize("last", [BEFORE_STUDENT - 1, BEFORE_STUDENT + 1, BEFORE_STUDENT + 5])
def test_run_that_breaks_off_ends_with_the_same_bits(last: int, tmp_path: Path) -> None:
    """In the last member, before the student's first checkpoint, and after it."""
    run(tmp_path / "whole", **FROM_MEMBER)
    with pytest.raises(BrokenOffError):
        run(tmp_path, broken_off_at(last), **FROM_MEMBER)
    steps = list[int]()
    run(tmp_path, lambda step, _: steps.append(step), **FROM_MEMBER)
    assert steps[-1] == BEFORE_STUDENT + STEPS
    whole, resumed = (folder / "run" / "student.safetensors" for folder in (tmp_path / "whole", tmp_path))
    assert whole.read_bytes() == resumed.read_bytes()


def test_lost_weights_of_the_member_are_an_error_that_says_what_to_delete(tmp_path: Path) -> None:
    with pytest.raises(BrokenOffError):
        run(tmp_path, broken_off_at(BEFORE_STUDENT + 1), **FROM_MEMBER)
    lost = tmp_path / "run" / FIRST_OF_LAST_ROUND
    lost.unlink()
    with pytest.raises(RunError, match=rf"delete {lost.parents[1]}, then the same command trains its members again"):
        run(tmp_path, **FROM_MEMBER)


@pytest.mark.parametrize(("setting", "value"), [("network", "resnet14"), ("assistant", "features.safetensors")])
def test_member_that_may_be_no_start_is_an_error(setting: str, value: str, tmp_path: Path) -> None:
    """It has another network; or an assistant may label the pool alone, so that none is trained."""
    with pytest.raises(ConfigError, match=rf"expected start = 'fresh' beside self_training.{setting}, got 'member'"):
        config_in(tmp_path, self_training={"start": "member", setting: value})
