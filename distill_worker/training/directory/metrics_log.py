"""The file of a run's metrics: one line of JSON for each logged step."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.atomic_file import write_atomically


class MetricsLog:
    """The metrics of a run, metrics.jsonl. The disk's failures are `OSError`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, metrics: Mapping[str, Any]) -> None:
        """Append one line; `metrics` must hold a `step`."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")

    def drop_after(self, step: int) -> list[dict[str, Any]]:
        """Drop the lines of the steps after `step`; returns the metrics in the others.

        Lines that are no metrics, which a power cut may leave, are dropped too.
        """
        if not self._path.exists():
            return []
        lines = [line.strip(b"\0\r ") for line in self._path.read_bytes().split(b"\n")]
        kept = [(line, metrics) for line in lines if (metrics := _metrics_in(line)) and metrics["step"] <= step]
        write_atomically(self._path, b"".join(line + b"\n" for line, _ in kept))
        return [metrics for _, metrics in kept]


def _metrics_in(line: bytes) -> dict[str, Any] | None:
    try:
        metrics = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return metrics if isinstance(metrics, dict) and isinstance(metrics.get("step"), int) else None
