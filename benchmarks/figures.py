"""Figures: one JSON line each in `benchmarks/results/<suite>.jsonl`.

`python -m benchmarks.figures` prints the latest of each as a table, misses first.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from shared.times import iso

RESULTS = Path(__file__).parent / "results"
_TABLE_WIDTH = 110
_BFLOAT16_UNITS = ("amx_bf16", "avx512_bf16")
"""Names of processors in virtual machines leave this out, and it decides how fast bfloat16 is."""

Figure = dict[str, Any]
"""One line of a suite's file."""


def record(
    suite: str,
    name: str,
    values: Sequence[float],
    *,
    unit: str,
    better: Literal["higher", "lower"],
    target: float | None = None,
) -> Figure:
    """Append the figure of these values to the suite's file; the figure that was written."""
    found = figure(suite, name, values, unit=unit, better=better, target=target)
    write(found)
    return found


def figure(
    suite: str,
    name: str,
    values: Sequence[float],
    *,
    unit: str,
    better: Literal["higher", "lower"],
    target: float | None = None,
) -> Figure:
    """The median of `values`, with their spread; not written anywhere yet."""
    return {
        "suite": suite,
        "name": name,
        "value": _rounded(statistics.median(values)),
        "unit": unit,
        "better": better,
        "target": target,
        "min": _rounded(min(values)),
        "max": _rounded(max(values)),
        "runs": len(values),
        "hardware": _hardware(),
        "at": iso(time.time())[:10],
    }


def write(figure: Figure) -> None:
    """Append a figure to its suite's file."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{figure['suite']}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(figure) + "\n")


def recorded(suite: str) -> list[Figure]:
    """All figures of a suite's file, from the oldest; none if it has no file."""
    path = RESULTS / f"{suite}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def misses_target(figure: Figure) -> bool:
    """Whether a figure falls short of its target."""
    target = figure["target"]
    if target is None:
        return False
    return bool(figure["value"] < target if figure["better"] == "higher" else figure["value"] > target)


def latest() -> list[Figure]:
    """The last line of every figure in every suite, misses first."""
    found: dict[tuple[str, str], Figure] = {}
    for path in sorted(RESULTS.glob("*.jsonl")):
        for figure in recorded(path.stem):
            found[figure["suite"], figure["name"]] = figure
    return sorted(found.values(), key=lambda figure: (not misses_target(figure), figure["suite"], figure["name"]))


def _rounded(value: float) -> float:
    return float(f"{value:.4g}") if abs(value) < 10_000 else round(value)


def _hardware() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        text = cpuinfo.read_text()
        names = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
        model = " with ".join([names[0] if names else model, *(unit for unit in _BFLOAT16_UNITS if unit in text)])
    return f"{os.cpu_count()} x {model}"


def _print_table() -> None:
    table = Table("figure", "value", "min..max", "runs", "target", "on", "at", show_edge=False, pad_edge=False)
    machines: list[str] = []
    for figure in latest():
        if figure["hardware"] not in machines:
            machines.append(figure["hardware"])
        target = "-" if figure["target"] is None else f"{figure['target']:g}"
        table.add_row(
            f"{figure['suite']}.{figure['name']}",
            f"{figure['value']:g} {figure['unit']}",
            f"{figure['min']:g}..{figure['max']:g}",
            str(figure["runs"]),
            f"[red]{target} missed[/]" if misses_target(figure) else target,
            f"({machines.index(figure['hardware']) + 1})",
            figure["at"],
        )
    console = Console(
        highlight=False, width=max(Console().width, _TABLE_WIDTH)
    )  # names are not cut for a narrow window
    console.print(table if table.row_count else "no figures yet: make bench")
    for number, machine in enumerate(machines, 1):
        console.print(f"({number}) {machine}")


if __name__ == "__main__":
    _print_table()
