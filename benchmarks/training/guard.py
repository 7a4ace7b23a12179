"""A guard against slower training: measure the main ratios again, and compare them with the committed ones.

`python -m benchmarks.training.guard` takes about two minutes and records nothing. It compares ratios, never times, and
only with figures of the same hardware; where none are recorded, with the targets. It ends with status 1 if a ratio is
worse than the worst round of the committed run by more than the tolerance.
"""

import argparse
import sys
from collections.abc import Mapping

import torch

from benchmarks.figures import recorded
from benchmarks.training import comparisons, others, step
from benchmarks.training.part import SUITE, Part
from benchmarks.training.verdict import committed_on, judge

_PARTS: Mapping[Part, int] = {step.PART: 6, comparisons.PART: 5, others.PART: 2}
"""With the number of rounds."""


def main() -> None:
    """Measure, compare, and end with status 1 if a ratio is worse."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="default: by part")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    lines = recorded(SUITE)
    verdicts = []
    for part, default in _PARTS.items():
        for measured in part.measured(rounds or default):
            committed = committed_on(measured["hardware"], lines).get(measured["name"])
            verdict = judge(measured, committed) if measured["unit"] == "ratio" else None
            if verdict is not None:
                print(verdict.line, flush=True)
                verdicts.append(verdict)
    worse = sum(verdict.is_worse for verdict in verdicts)
    if worse:
        sys.exit(f"\n{worse} of {len(verdicts)} ratios are worse; measure on an idle machine before you trust this")
    print(f"\nall {len(verdicts)} ratios hold")


if __name__ == "__main__":
    main()
