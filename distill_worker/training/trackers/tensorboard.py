"""TensorBoard: event files in the run directory, so that `tensorboard --logdir runs` shows all runs.

    tensorboard/events.out.tfevents.0001    from the beginning of the run
    tensorboard/events.out.tfevents.0002    from the checkpoint on, after the run was killed

Each file is opened for one write at a time: no thread and no open file outlives a call.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from distill_worker.training.trackers.event_file import append_event, first_event, scalars_event, start_event
from distill_worker.training.trackers.tracker import TrackedRun, final_values

FOLDER: Final = "tensorboard"
"""The folder in the run directory."""
_FILES: Final = "events.out.tfevents."
"""The names of the files begin so: TensorBoard takes those with `tfevents`, in the order of their names."""


class TensorBoard:
    """Writes the event files of a run. Its failures are `OSError`."""

    def __init__(self) -> None:
        self._file = Path()
        self._step = 0

    def begin(self, run: TrackedRun) -> None:
        """Begin a file; steps after the checkpoint, in the files before it, count no longer."""
        folder = run.directory / FOLDER
        folder.mkdir(exist_ok=True)
        earlier = len(list(folder.glob(f"{_FILES}*")))
        self._file, self._step = folder / f"{_FILES}{earlier + 1:04}", run.resumes_after
        append_event(self._file, first_event(time.time()))
        append_event(self._file, start_event(time.time(), run.resumes_after + 1))
        for step, values in () if earlier else run.earlier:  # it was not turned on then
            self.log(step, values)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values at a step."""
        append_event(self._file, scalars_event(time.time(), step, values))
        self._step = step

    def end(self, result: Mapping[str, Any] | None) -> None:
        """Write the figures of the result, at the last step."""
        if result is not None and (values := final_values(result)):
            self.log(self._step, values)
