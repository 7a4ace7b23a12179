"""Weights & Biases: a run with this run's id, so that one that goes on continues.

Where: WANDB_API_KEY, WANDB_MODE and the other environment variables of W&B; the project is WANDB_PROJECT, or `tuition`.
Its files are in the folder `wandb` of WANDB_DIR, or of the run directory.
"""

import os
from collections.abc import Mapping
from typing import Any

import wandb

from distill_worker.errors import ConfigError
from distill_worker.training.trackers.tracker import TrackedRun, final_values


class WandbTracker:
    """Logs to one run. W&B's own process sends the values; only the end waits for it."""

    def __init__(self) -> None:
        if wandb.setup().settings.mode == "online" and not wandb.login(prompt=False, verify=False):
            raise ConfigError(
                "expected an API key of Weights & Biases, got none; set WANDB_API_KEY, or WANDB_MODE=offline"
            )
        self._run: wandb.Run | None = None

    def begin(self, run: TrackedRun) -> None:
        """Create the run with its configuration, or continue it. W&B may have lost the last values before a kill.

        In the offline mode it knows of none: each file has the whole run.
        """
        self._run = wandb.init(
            id=run.id,
            name=run.name,
            resume="allow",
            project=os.environ.get("WANDB_PROJECT", "tuition"),
            dir=os.environ.get("WANDB_DIR", run.directory),
            config=dict(run.configuration),
            reinit="create_new",  # a run that a script has open stays open
            settings=wandb.Settings(silent=True, console="off"),
        )
        for step, values in run.earlier:
            self.log(step, values)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values at a step, unless W&B has them: its steps only grow."""
        if self._run is not None and step >= self._run.step:
            self._run.log(dict(values), step=step, commit=True)

    def end(self, result: Mapping[str, Any] | None) -> None:
        """Store the figures of the result in the summary, and finish."""
        if self._run is None:
            return
        if result is not None:
            for name, value in final_values(result).items():
                self._run.summary[name] = value
        self._run.finish(exit_code=int(result is None))
