"""What TensorBoard shows of a run: each step once."""

import threading
from pathlib import Path

from distill_worker.training.trackers.tensorboard import TensorBoard
from tests.distill_worker.training.trackers.following import curves, run_in


def _follow(directory: Path, steps: range, *, after: int = 0, result: dict[str, float] | None = None) -> None:
    tracker = TensorBoard()
    tracker.begin(run_in(directory, resumes_after=after))
    for step in steps:
        tracker.log(step, {"loss": 10.0 * after + step, "learning_rate": 0.5})
    tracker.end(result)


def test_values_are_shown_by_step_and_the_result_at_the_last(tmp_path: Path) -> None:
    threads = threading.active_count()
    _follow(tmp_path, range(1, 4), result={"accuracy": 0.75})
    assert curves(tmp_path) == {
        "loss": [(1, 1.0), (2, 2.0), (3, 3.0)],
        "learning_rate": [(1, 0.5), (2, 0.5), (3, 0.5)],
        "test_accuracy": [(3, 0.75)],
    }
    assert threading.active_count() == threads


def test_run_that_goes_on_replaces_the_steps_after_its_checkpoint(tmp_path: Path) -> None:
    """Twice: the second time from an earlier step than the first."""
    _follow(tmp_path, range(1, 6))
    _follow(tmp_path, range(4, 7), after=3)
    _follow(tmp_path, range(3, 6), after=2, result={"accuracy": 0.5})
    assert curves(tmp_path)["loss"] == [(1, 1.0), (2, 2.0), (3, 23.0), (4, 24.0), (5, 25.0)]
    assert curves(tmp_path)["test_accuracy"] == [(5, 0.5)]


def test_run_that_began_without_it_is_shown_whole(tmp_path: Path) -> None:
    tracker = TensorBoard()
    tracker.begin(run_in(tmp_path, resumes_after=2, earlier=[(1, {"loss": 3.0}), (2, {"loss": 2.0})]))
    tracker.log(3, {"loss": 1.0})
    assert curves(tmp_path) == {"loss": [(1, 3.0), (2, 2.0), (3, 1.0)]}


def test_run_that_begins_again_replaces_all(tmp_path: Path) -> None:
    """It was killed before its first checkpoint."""
    _follow(tmp_path, range(1, 4))
    _follow(tmp_path, range(1, 3))
    assert [step for step, _ in curves(tmp_path)["loss"]] == [1, 2]
