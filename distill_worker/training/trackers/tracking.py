"""The trackers of one training.

Invariant: a tracker neither ends a training nor changes it. One that fails is left out from then on, and a note says
so; the draws of the training are as they would be without it.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from distill_worker.training.trackers.named import tracker_named
from distill_worker.training.trackers.tensorboard import TensorBoard
from distill_worker.training.trackers.tracker import Logged, TrackedRun, Tracker
from shared.networks.draws import kept_draws


class Tracking:
    """Passes what happens in a training on to each tracker."""

    def __init__(
        self, trackers: Mapping[str, Tracker] = MappingProxyType({}), note: Callable[[str], None] = lambda _line: None
    ) -> None:
        self._waiting = dict(trackers)
        self._following: dict[str, Tracker] = {}
        self._note = note

    @property
    def is_wanted(self) -> bool:
        """Whether there is a tracker to begin."""
        return bool(self._waiting)

    def begin(self, run: TrackedRun) -> None:
        """Let all trackers follow the run."""
        self._following, self._waiting = self._waiting, {}
        self._each(lambda tracker: tracker.begin(run))

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Pass on the values of a line of metrics.jsonl."""
        step, values = logged(metrics)
        self._each(lambda tracker: tracker.log(step, values))

    def end(self, result: Mapping[str, Any] | None) -> None:
        """Let all trackers stop, with the result if there is one; a second call does nothing."""
        self._each(lambda tracker: tracker.end(result))
        self._following = {}

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._following.items()):
            try:
                with kept_draws():
                    call(tracker)
            except Exception as error:  # code of others, which may raise anything
                del self._following[name]
                self._note(f"{name} no longer tracks this run ({type(error).__name__}: {error}); the training goes on")


def logged(metrics: Mapping[str, Any]) -> Logged:
    """The step and the values in a line of metrics.jsonl."""
    return metrics["step"], {name: value for name, value in metrics.items() if name != "step"}


def tracking_of(names: Sequence[str], note: Callable[[str], None], *, tensorboard: bool) -> Tracking:
    """The trackers with these names, and TensorBoard if it is wanted. Raises `ConfigError`, see `tracker_named`."""
    own: dict[str, Tracker] = {"TensorBoard": TensorBoard()} if tensorboard else {}
    return Tracking({**own, **{name: tracker_named(name) for name in names}}, note)
