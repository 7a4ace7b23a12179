"""The guard's comparison, with planted figures."""

from typing import Literal

import pytest

from benchmarks.figures import Figure, figure
from benchmarks.training.verdict import committed_on, judge


def planted(*values: float, better: Literal["higher", "lower"] = "higher", target: float | None = None) -> Figure:
    return figure("training", "planted", values, unit="ratio", better=better, target=target)


@pytest.mark.parametrize(
    ("now", "better", "is_worse"),
    [
        (0.82, "higher", False),  # the committed run's worst round is 0.90, a tenth less is 0.81
        (0.80, "higher", True),
        (1.20, "lower", False),  # its worst round is 1.10, a tenth more is 1.21
        (1.22, "lower", True),
        (5.00, "higher", False),
        (0.10, "lower", False),
    ],
)
def test_ratio_is_compared_with_the_worst_committed_round(
    now: float, better: Literal["higher", "lower"], is_worse: bool
) -> None:
    verdict = judge(planted(now, better=better), planted(0.9, 1.0, 1.1, better=better), tolerance=0.1)
    assert verdict is not None
    assert verdict.is_worse is is_worse
    assert verdict.line.startswith("WORSE" if is_worse else "ok")


def test_committed_figure_counts_more_than_a_target_that_it_missed() -> None:
    verdict = judge(planted(2.0, target=2.5), planted(2.0, target=2.5))
    assert verdict is not None
    assert not verdict.is_worse


@pytest.mark.parametrize(("now", "is_worse"), [(2.49, True), (2.51, False)])
def test_ratio_without_a_committed_figure_is_compared_with_its_target(now: float, is_worse: bool) -> None:
    verdict = judge(planted(now, target=2.5), None)
    assert verdict is not None
    assert verdict.is_worse is is_worse
    assert "no figure is committed for this hardware" in verdict.line


def test_ratio_with_neither_is_not_judged() -> None:
    assert judge(planted(1.0), None) is None


def test_latest_figure_of_the_same_hardware_is_the_committed_one() -> None:
    lines = [
        planted(1.0) | {"hardware": "ours"},
        planted(2.0) | {"hardware": "ours"},
        planted(3.0) | {"hardware": "another"},
    ]
    assert committed_on("ours", lines)["planted"]["value"] == 2.0
    assert committed_on("a third", lines) == {}
