"""Reads the metrics that a run logged."""

import json
from pathlib import Path
from typing import Any


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl that can be read; none if there is no file. Raises `OSError`."""
    path, lines = directory / "metrics.jsonl", list[dict[str, Any]]()
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            metrics = json.loads(line)
        except ValueError:
            continue
        if isinstance(metrics, dict) and "step" in metrics:
            lines.append(metrics)
    return lines
