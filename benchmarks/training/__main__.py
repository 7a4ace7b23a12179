"""Measure training in turns, print each figure beside its target, and record it.

`python -m benchmarks.training` takes less than ten minutes on two idle cores, records its figures, and writes them into
`docs/results/training-speed.md`. With `--rounds` it only prints them. With `--markdown` it measures nothing and only
writes the page. If a part fails, the figures of the others are recorded, and the exit status is 1.
"""

import argparse
import sys
import time

import torch

from benchmarks.figures import Figure, recorded, write
from benchmarks.training import comparisons, growth, others, page, plot, step, two_cores
from benchmarks.training.part import SUITE, Part, line, measure_each

PARTS: tuple[Part, ...] = (step.PART, comparisons.PART, others.PART, two_cores.PART, growth.PART)


def main() -> None:
    """Read the arguments, measure, report."""
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these parts, which are recorded")
    parser.add_argument("--rounds", type=int, help="a short look: only print the figures")
    parser.add_argument("--markdown", action="store_true", help="write the recorded figures into the page, and end")
    arguments = parser.parse_args()
    chosen = [part for part in PARTS if part.name in arguments.only]
    failed = [] if arguments.markdown else _measure(chosen, arguments.rounds)
    if arguments.rounds is None:
        _write_page()
    if failed:
        sys.exit(f"failed, with the tracebacks above: {', '.join(failed)}")


def _measure(parts: list[Part], rounds: int | None) -> list[str]:
    """Measure, print, and record unless `rounds` are given; the names of the parts that failed."""

    def take(figure: Figure) -> None:
        print(line(figure), flush=True)
        if rounds is None:
            write(figure)

    torch.set_num_threads(1)
    started = time.perf_counter()
    failed = measure_each(parts, rounds, take)
    print(f"\n{time.perf_counter() - started:.0f} s in all" + ("" if rounds is None else "; no figure was recorded"))
    return failed


def _write_page() -> None:
    """Write the recorded figures into the page, and draw its picture."""
    figures = {figure["name"]: figure for figure in recorded(SUITE)}
    page.PLACE.write_text(page.with_tables(page.PLACE.read_text(), PARTS, figures))
    if growth.PART.named(growth.FLATNESS) in figures:
        plot.draw(figures)


if __name__ == "__main__":
    main()
