"""A tracker neither ends a training nor changes it."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distill_worker.training.trackers.tensorboard import FOLDER
from distill_worker.training.trackers.tracker import TrackedRun
from distill_worker.training.trackers.tracking import Tracking, tracking_of
from tests.distill_worker.training.trackers.following import run_in


class _Noting:
    """Keeps what it is called with, and fails in one call."""

    def __init__(self, fails_in: str = "") -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._fails_in = fails_in

    def begin(self, run: TrackedRun) -> None:
        self._call("begin", run.id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._call("log", step, dict(values))

    def end(self, result: Mapping[str, Any] | None) -> None:
        self._call("end", result)

    def _call(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *arguments))
        random.random()
        np.random.rand()
        torch.rand(1)
        if name == self._fails_in:
            raise RuntimeError("no such server")


def _follow(tracking: Tracking, directory: Path) -> None:
    tracking.begin(run_in(directory))
    tracking.log({"step": 1, "loss": 2.0})
    tracking.log({"step": 2, "loss": 1.0})
    tracking.end({"accuracy": 0.5})
    tracking.end(None)


@pytest.mark.parametrize("fails_in", ["begin", "log", "end"])
def test_tracker_that_fails_is_left_out_with_one_note(tmp_path: Path, fails_in: str) -> None:
    failing, other, notes = _Noting(fails_in), _Noting(), list[str]()
    _follow(Tracking({"failing": failing, "other": other}, notes.append), tmp_path)
    assert notes == ["failing no longer tracks this run (RuntimeError: no such server); the training goes on"]
    assert failing.calls[-1][0] == fails_in
    assert other.calls == [
        ("begin", "1a2b"),
        ("log", 1, {"loss": 2.0}),
        ("log", 2, {"loss": 1.0}),
        ("end", {"accuracy": 0.5}),
    ]


def test_draws_are_as_without_trackers(tmp_path: Path) -> None:
    def draws() -> tuple[float, float, float]:
        return random.random(), np.random.rand(), float(torch.rand(1))

    def seed() -> None:
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)

    seed()
    expected = draws()
    seed()
    _follow(Tracking({"drawing": _Noting()}), tmp_path)
    assert draws() == expected


def test_disk_that_cannot_be_written_is_one_note(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("")
    notes = list[str]()
    _follow(tracking_of((), notes.append, tensorboard=True), tmp_path)
    assert len(notes) == 1
    assert notes[0].startswith("TensorBoard no longer tracks this run (FileExistsError: ")


def test_tracker_that_never_began_does_not_end() -> None:
    """The run failed before its training."""
    tracker = _Noting()
    Tracking({"waiting": tracker}).end(None)
    assert tracker.calls == []
