"""The file of a small sweep, for tests."""

from pathlib import Path
from typing import Any

from distill_worker.experiments.sweep.grid import Sweep, parse_sweep

COMPARE: dict[str, Any] = {
    "directory": "out",
    "n": [8],
    "seeds": 2,
    "methods": [{"label": "CE", "method": {"name": "ce"}}, {"label": "KD", "method": {"name": "kd"}}],
}
BASE: dict[str, Any] = {
    "data": {"name": "digits"},
    "student": {"network": "resnet8"},
    "training": {"steps": 4, "batch_size": 4, "device": "cpu"},
    "compare": COMPARE,
}
GRID: dict[str, Any] = {
    "student.network": ["resnet8", "resnet14"],
    "compare.teacher": [{"label": "small", "network": "resnet8", "steps": 3}, {"network": "resnet14", "steps": 5}],
}


def sweep_of(folder: Path, *, quick: bool = False, **sections: Any) -> Sweep:
    """The sweep of `BASE` with other sections, in a folder."""
    return parse_sweep({**BASE, **sections}, folder / "sweep.toml", {"directory": folder / "out"}, quick=quick)
