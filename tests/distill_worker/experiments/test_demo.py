"""The demo's presets, which the end-to-end tests replace by shorter ones."""

from pathlib import Path

import pytest

from distill_worker.experiments.demo import Demo


@pytest.mark.parametrize(
    ("data", "teacher", "teacher_steps", "steps", "n"),
    [("digits", "resnet8x4", 300, 400, 50), ("fashion-mnist", "wrn_16_2", 1500, 800, 500)],
)
def test_preset_is_the_documented_one(
    tmp_path: Path, data: str, teacher: str, teacher_steps: int, steps: int, n: int
) -> None:
    """The student is a resnet8, and the quota is twice the price."""
    demo = Demo.of(data, n=None, seeds=3, quota=None, directory=tmp_path)
    preset = demo.preset
    assert (preset.teacher_network, preset.teacher_steps) == (teacher, teacher_steps)
    assert (preset.student_network, preset.steps) == ("resnet8", steps)
    assert (demo.n, demo.quota, demo.directory) == (n, 2 * n, tmp_path / data)
