"""What a tracker is: three calls in the life of a training. Other packages implement it, so it stays small.

A package names its tracker, a class without arguments, as an entry point of the group `distill_worker.trackers`:

    [project.entry-points."distill_worker.trackers"]
    mine = "my_package:MyTracker"
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Logged = tuple[int, Mapping[str, float]]
"""A step and its values by name: the loss and its terms, the learning rate, the accuracy on validation samples."""


@dataclass(frozen=True)
class TrackedRun:
    """The run that a tracker follows, when its training begins or goes on."""

    id: str
    """Kept in the run directory: a run that was killed and goes on has the same one."""
    name: str
    """The name of its directory."""
    directory: Path
    """The run directory, which exists and can be written."""
    configuration: Mapping[str, Any]
    """Everything that its result depends on; JSON-able, in sections. It holds no secret and no address."""
    resumes_after: int
    """The steps of the checkpoint that the training goes on from; 0 at the beginning. An earlier process may have
    logged later ones, which are logged again."""
    earlier: Sequence[Logged]
    """What was logged until then. A tracker that was killed may have lost some of it."""


def final_values(result: Mapping[str, Any]) -> dict[str, float]:
    """What a tracker shows of a result: its accuracy on test images, and how far it agrees with its teacher."""
    fidelity = result.get("fidelity") or {}
    values = {
        "test_accuracy": result.get("accuracy"),
        "fidelity_agreement": fidelity.get("agreement"),
        "fidelity_kl": fidelity.get("kl"),
    }
    return {name: value for name, value in values.items() if value is not None}


class Tracker(Protocol):
    """Shows the metrics of a training elsewhere.

    It is made before anything is bought, so what is sure to fail later should fail then, with `ConfigError`. Later, no
    error of it ends the training: the tracker is left out from then on, and a note says why. It is called between two
    steps, which wait for it.
    """

    def begin(self, run: TrackedRun) -> None:
        """Begin to follow a run, or go on."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values at a step."""

    def end(self, result: Mapping[str, Any] | None) -> None:
        """Stop following: the run ended with this result, or None if it was interrupted or failed, and may go on."""
