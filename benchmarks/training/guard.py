"""A guard against slower training: measure the main ratios again, and compare them with the committed ones.

`python -m benchmarks.training.guard` takes about two minutes and records nothing. It compares ratios, never times, and
only with figures of the same hardware; where none are recorded, with the targets. It ends with status 1 if a ratio is
worse than the worst round of the committed run by more than the tolerance, or if a part fails.
"""

import argparse
import sys
from dataclasses import replace

import torch

from benchmarks.figures import Figure, recorded
from benchmarks.training import comparisons, others, step
from benchmarks.training.part import SUITE, measure_each
from benchmarks.training.verdict import Verdict, committed_on, judge

_PARTS = [
    replace(part, rounds=rounds, seconds=part.seconds * rounds // part.rounds)
    for part, rounds in ((step.PART, 6), (comparisons.PART, 5), (others.PART, 2))
]


def main() -> None:
    """Measure, compare, and end with status 1 if a ratio is worse."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="default: by part")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    lines = recorded(SUITE)
    verdicts: list[Verdict] = []

    def take(measured: Figure) -> None:
        committed = committed_on(measured["hardware"], lines).get(measured["name"])
        verdict = judge(measured, committed) if measured["unit"] == "ratio" else None
        if verdict is not None:
            print(verdict.line, flush=True)
            verdicts.append(verdict)

    failed = measure_each(_PARTS, rounds, take)
    worse = sum(verdict.is_worse for verdict in verdicts)
    if worse:
        print(f"\n{worse} of {len(verdicts)} ratios are worse; measure on an idle machine before you trust this")
    if failed:
        print(f"\nfailed, with the tracebacks above: {', '.join(failed)}")
    if worse or failed:
        sys.exit(1)
    print(f"\nall {len(verdicts)} ratios hold")


if __name__ == "__main__":
    main()
