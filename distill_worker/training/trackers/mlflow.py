"""MLflow: a run of a tracking server, or of a database file, for each run.

Where: MLFLOW_TRACKING_URI and MLflow's other environment variables; the experiment is MLFLOW_EXPERIMENT_NAME, or
`tuition`. A run that goes on is the one with this run's id in its tag.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from distill_worker.training.trackers.tracker import TrackedRun, final_values

TAG: Final = "tuition.run_id"
"""The tag with the id of the run."""
_MOST_PARAMS: Final = 100
"""That one request may hold."""


class MlflowTracker:
    """Writes one run, each call in one request, and waits for it."""

    def __init__(self) -> None:
        self._client = MlflowClient()
        self._run, self._step = "", 0
        self._known: set[int] = set()

    def begin(self, run: TrackedRun) -> None:
        """Create the run with its configuration as parameters; or set the status of the one that goes on."""
        experiment = self._experiment()
        if same := self._client.search_runs([experiment], f"tags.`{TAG}` = '{run.id}'", max_results=1):
            self._run = same[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            self._known = {metric.step for metric in self._client.get_metric_history(self._run, "loss")}
        else:
            self._run = self._client.create_run(experiment, run_name=run.name, tags={TAG: run.id}).info.run_id
            params = [Param(name, str(value)) for name, value in _flat(run.configuration)]
            for first in range(0, len(params), _MOST_PARAMS):
                self._client.log_batch(self._run, params=params[first : first + _MOST_PARAMS])
        for step, values in run.earlier:
            self.log(step, values)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values at a step, unless MLflow has some: it would keep both."""
        self._step = step
        if step not in self._known:
            self._log(values)

    def end(self, result: Mapping[str, Any] | None) -> None:
        """Log the figures of the result, and set the status: finished, or killed if there is no result."""
        if result is not None and (values := final_values(result)):
            self._log(values)
        self._client.set_terminated(self._run, "KILLED" if result is None else "FINISHED")

    def _log(self, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(self._run, [Metric(name, value, now, self._step) for name, value in values.items()])

    def _experiment(self) -> str:
        """The id of the experiment, which is created if it is absent; another process may do so at the same time."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "tuition")
        if (experiment := self._client.get_experiment_by_name(name)) is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:
                if (experiment := self._client.get_experiment_by_name(name)) is None:
                    raise
        return str(experiment.experiment_id)


def _flat(values: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """The values by dotted names: `training.steps`. A list is JSON."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{within}{name}.")
        else:
            yield f"{within}{name}", json.dumps(value) if isinstance(value, list) else value
