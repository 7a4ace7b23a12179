"""A guard against slower training: measure the main ratios again, and compare them with the committed ones.

`python -m benchmarks.training.guard` takes about two minutes and records nothing. It compares ratios, never times, and
only with figures of the same hardware; where none are recorded, with the targets. It ends with status 1 if a ratio is worse
than the worst round of the committed run by more than the tolerance.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from benchmarks.figures import Figure, recorded
from benchmarks.training import comparisons, others, step
from benchmarks.training.part import SUITE, Part

TOLERANCE = 0.10
_PARTS: Mapping[Part, int] = {step.PART: 6, comparisons.PART: 5, others.PART: 2}
"""With the number of rounds."""


@dataclass(frozen=True)
class Verdict:
    """What the guard says of one ratio."""

    line: str
    is_worse: bool


def judge(measured: Figure, committed: Figure | None, tolerance: float = TOLERANCE) -> Verdict | None:
    """Compare a ratio with its committed figure, or with its target; None if it has neither.

    Args:
        measured: just now.
        committed: on the same hardware, if any.
        tolerance: how much worse than the committed run's worst round a ratio may be, as a share of it.
    """
    higher = measured["better"] == "higher"
    if committed is not None:
        worst = committed["min"] if higher else committed["max"]
        limit = worst * (1 - tolerance if higher else 1 + tolerance)
        reason = f"committed {committed['value']:g} ({committed['min']:g}..{committed['max']:g}), {tolerance:.0%} tolerated"
    elif measured["target"] is not None:
        limit, reason = measured["target"], "the target, as no figure is committed for this hardware"
    else:
        return None
    is_worse = measured["value"] < limit if higher else measured["value"] > limit
    verdict = "WORSE" if is_worse else "ok"
    bound = f"{'at least' if higher else 'at most'} {limit:.4g}"
    return Verdict(f"{verdict:6}{measured['name']:46}{measured['value']:>8g}, {bound} ({reason})", is_worse)


def committed_on(hardware: str, lines: Iterable[Figure]) -> dict[str, Figure]:
    """The latest figure of each name on this hardware."""
    return {figure["name"]: figure for figure in lines if figure["hardware"] == hardware}


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
