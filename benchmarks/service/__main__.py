"""Measure everything in one run, print it, and say which targets are missed.

`python -m benchmarks.service` takes about eight minutes and records its figures. A short look (`--only`, or less time
than by default) prints them alone.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from benchmarks.figures import Figure, misses_target, write
from benchmarks.service import report
from benchmarks.service.bare_loop import predictor
from benchmarks.service.cells import measure
from benchmarks.service.counting import counting_figures
from benchmarks.service.subjects import SUBJECTS, started
from benchmarks.service.teacher_file import write_teacher

SECONDS = 2.0
ROUNDS = 3


def main() -> None:
    """Read the arguments, measure, report."""
    names = [subject.name for subject in SUBJECTS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="a subject in a cell, in each round")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="figures are medians over the rounds")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these subjects, and the bare loop")
    arguments = parser.parse_args()
    subjects = [subject for subject in SUBJECTS if subject.name in arguments.only]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        weights = write_teacher(Path(folder) / "teacher.safetensors", "resnet20", 3, (32, 32))
        with started({subject.server for subject in subjects}, weights, Path(folder)) as servers:
            predict = predictor(weights)
            found = measure(subjects, servers, predict, seconds=arguments.seconds, rounds=arguments.rounds)
    figures = [*report.figures(found), *counting_figures()]
    if len(subjects) == len(SUBJECTS) and arguments.seconds >= SECONDS and arguments.rounds >= ROUNDS:
        for figure in figures:
            write(figure)
    print(f"\n{report.table(found)}\n")
    for figure in figures:
        if figure["target"] is not None or figure["name"].startswith("durable"):
            print(_line(figure))


def _line(figure: Figure) -> str:
    verdict = "" if figure["target"] is None else "MISSED" if misses_target(figure) else "met"
    sign = ">=" if figure["better"] == "higher" else "<="
    target = "" if figure["target"] is None else f"{sign} {figure['target']:g}"
    spread = f"({figure['min']:g}..{figure['max']:g})"
    return f"{figure['name']:36}{figure['value']:>9g} {figure['unit']:8}{spread:22}{target:10}{verdict}"


if __name__ == "__main__":
    main()
