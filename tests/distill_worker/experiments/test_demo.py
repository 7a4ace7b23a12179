"""The demo's presets, which the end-to-end tests replace by shorter ones."""

from collections.abc import Callable
from pathlib import Path

import pytest

from distill_worker.buying.plan import Plan
from distill_worker.errors import PlanRefused
from distill_worker.experiments.demo import Demo, run_demo
from distill_worker.teachers.base import Quota


@pytest.mark.parametrize(
    ("data", "teacher", "teacher_steps", "steps", "n", "quota"),
    [
        ("digits", "resnet8x4", 300, [400, 400, 400, 2500, 400], 50, 50 + 25 + 6 * 25),
        ("fashion-mnist", "wrn_16_2", 1500, [800, 800, 800, 5000, 10000], 500, 500 + 125 + 6 * 375),
    ],
)
def test_preset_is_the_documented_one(
    tmp_path: Path, data: str, teacher: str, teacher_steps: int, steps: list[int], n: int, quota: int
) -> None:
    """The student is a resnet8, and the quota is what three seeds need."""
    demo = Demo.of(data, n=None, seeds=3, quota=None, directory=tmp_path)
    preset = demo.preset
    assert (preset.teacher_network, preset.teacher_steps) == (teacher, teacher_steps)
    assert (demo.n, demo.quota, demo.directory) == (n, quota, tmp_path / data)
    runs = {cell.label: cell.config for cell in demo.comparison().cells}
    assert list(runs) == ["ce", "kd", "ckd", "auto, queried", "auto"]
    assert [run.training.steps for run in runs.values()] == steps
    assert {run.student.network for run in runs.values()} == {"resnet8"}


def test_small_quota_is_explained_with_the_options_of_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tuple(bytes([number]) * 32 for number in range(5))
    plan = Plan("t", ("logits",), keys, 0, (), 0, 0, keys, 0, 0, 64, 1, Quota(3, 0, 3))

    def run(_: object, *, on_plan: Callable[[Plan], bool], **__: object) -> None:
        on_plan(plan)

    monkeypatch.setattr("distill_worker.experiments.demo.run_comparison", run)
    expected = r"^--n: expected a quota for \d+ calls .* Lower --n, or set a larger --quota in another --directory$"
    with pytest.raises(PlanRefused, match=expected):
        run_demo(Demo.of("digits", n=5, seeds=1, quota=3, directory=tmp_path))
