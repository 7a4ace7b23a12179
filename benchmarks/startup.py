"""How long the commands take that need no PyTorch, from the start of the process to its end.

`python -m benchmarks.startup` writes the seconds of each. `python -m benchmarks.startup FOLDER` also times the same
commands of the checkout in FOLDER, in turns with these, and writes the ratios: before / now.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.figures import record
from distill_worker.cache import Cache

RUNS: Final = 9
HERE: Final = Path(__file__).parent.parent
_CREATE: Final = ("-m", "teacher_service", "keys", "create", "--quota", "5", "--name")
COMMANDS: Final[Mapping[str, tuple[tuple[str, ...], float | None]]] = {
    "distill_worker_help": (("-m", "distill_worker", "--help"), 0.5),
    "distill_worker_plan_help": (("-m", "distill_worker", "plan", "--help"), 0.5),
    "distill_worker_methods": (("-m", "distill_worker", "methods"), 1.0),
    "distill_worker_cache_stats": (("-m", "distill_worker", "cache", "stats", "{folder}/cache.sqlite"), 1.0),
    "teacher_service_help": (("-m", "teacher_service", "--help"), 0.5),
    "keys_create_first": ((*_CREATE, "first", "--data-dir", "{folder}/{turn}"), 1.0),
    "keys_create_second": ((*_CREATE, "second", "--data-dir", "{folder}/{turn}"), 1.0),
    "import_torch": (("-c", "import torch"), None),
}
"""The arguments of Python, and the target in seconds. The first key makes the ledger that the second one opens."""


def measure(checkouts: Mapping[str, Path], folder: Path) -> dict[str, dict[str, list[float]]]:
    """Seconds by checkout and command; the first of `RUNS` + 1 turns, which may compile modules, is left out."""
    seconds: dict[str, dict[str, list[float]]] = {name: {label: [] for label in COMMANDS} for name in checkouts}
    for turn in range(RUNS + 1):
        for name, checkout in checkouts.items():
            for label, (arguments, _) in COMMANDS.items():
                places = [part.format(folder=folder / name, turn=turn) for part in arguments]
                took = _seconds(places, checkout)
                if turn:
                    seconds[name][label].append(took)
    return seconds


def _seconds(arguments: list[str], checkout: Path) -> float:
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=checkout, env=environment, check=True, capture_output=True)
    return time.perf_counter() - started


def _make_cache(place: Path) -> None:
    with Cache(place):
        pass


def main(before: Path | None) -> None:
    """Measure, write the figures, and print the seconds."""
    checkouts = {"now": HERE} | ({} if before is None else {"before": before.resolve()})
    with TemporaryDirectory() as temporary:
        for name in checkouts:
            (Path(temporary) / name).mkdir()
            _make_cache(Path(temporary) / name / "cache.sqlite")
        seconds = measure(checkouts, Path(temporary))
    for label, (_, target) in COMMANDS.items():
        record("startup", label, seconds["now"][label], unit="s", better="lower", target=target)
        line = f"{label}: {statistics.median(seconds['now'][label]):.2f} s"
        if before is not None:
            ratios = [old / new for old, new in zip(seconds["before"][label], seconds["now"][label], strict=True)]
            record("startup", f"{label}_speedup", ratios, unit="x", better="higher")
            line += f", before {statistics.median(seconds['before'][label]):.2f} s"
        print(line)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
