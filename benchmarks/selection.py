"""What choosing costs: time and memory of every strategy among 50,000 samples.

`python -m benchmarks.selection` chooses 5,000 of 50,000 random samples, each run in a process of its own: pixels of
3 x 32 x 32, features of 512 numbers, logits of 100 classes. Memory is the process's peak beyond what the data take (on
Linux, which can forget an earlier peak).
A short look (fewer candidates) is printed and not recorded.
"""

import argparse
import multiprocessing
import time
from pathlib import Path

import numpy as np

from benchmarks.figures import figure, write
from distill_worker.data.selection import STRATEGIES, Candidates, choose

CANDIDATES = 50_000
RUNS = 3
TARGET_SECONDS = 60
PIXELS, FEATURES, CLASSES = 3 * 32 * 32, 512, 100
_CLEAR_REFS = Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"


def subjects() -> list[tuple[str, int]]:
    """Names of strategies, each with how many numbers of a sample it sees; 0 where it sees no features."""
    found = []
    for name, strategy in STRATEGIES.items():
        widths = (PIXELS, FEATURES) if "features" in strategy.needs else (FEATURES if name == "badge" else 0,)
        found += [(name, width) for width in widths]
    return found


def candidates_of(count: int, width: int) -> Candidates:
    """Samples in a hundred clouds, as far apart as they are wide."""
    numbers = np.random.default_rng(0)
    labels = numbers.integers(0, CLASSES, count)
    features = numbers.standard_normal((count, width), np.float32)
    features += numbers.standard_normal((CLASSES, width), np.float32)[labels]
    logits = 3 * numbers.standard_normal((count, CLASSES), np.float32)
    return Candidates(count, seed=0, labels=labels, features=features, logits=logits)


def measure(name: str, width: int, count: int) -> tuple[float, float]:
    """Seconds, and MiB beyond the data, of choosing a tenth."""
    candidates = candidates_of(count, width)
    _CLEAR_REFS.write_text(_FORGET_PEAK)
    before = _mebibytes("VmRSS")
    started = time.perf_counter()
    chosen = choose(name, candidates, count // 10)
    seconds = time.perf_counter() - started
    if len(set(chosen)) != count // 10:
        raise RuntimeError(f"{name}: expected {count // 10} different samples, got {len(set(chosen))}")
    return seconds, _mebibytes("VmHWM") - before


def main() -> None:
    """Read the arguments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=CANDIDATES)
    count = parser.parse_args().candidates
    context = multiprocessing.get_context("spawn")
    for name, width in subjects():
        runs = []
        for _ in range(RUNS):
            with context.Pool(1) as pool:
                runs.append(pool.apply(measure, (name, width, count)))
        seen = {0: "", PIXELS: "_pixels", FEATURES: "_features"}[width]
        subject = name.replace("-", "_") + seen
        seconds, mebibytes = zip(*runs, strict=True)
        figures = [
            figure("selection", f"{subject}_time", seconds, unit="s", better="lower", target=TARGET_SECONDS),
            figure("selection", f"{subject}_memory", mebibytes, unit="MiB", better="lower"),
        ]
        if count >= CANDIDATES:
            for found in figures:
                write(found)
        print(f"{subject:20} {figures[0]['value']:8g} s {figures[1]['value']:8g} MiB", flush=True)


def _mebibytes(what: str) -> float:
    """Of this process: VmRSS, or its peak, VmHWM."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


if __name__ == "__main__":
    main()
