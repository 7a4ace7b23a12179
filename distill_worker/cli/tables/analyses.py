"""The analyses of one student, or of all students of a comparison, on standard output."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from distill_worker.cli.console import answers
from distill_worker.cli.tables.rows import print_rows, result_table
from distill_worker.experiments.analyses.sharpness import rise
from distill_worker.experiments.analyses.students import figure_rows, rank_rows
from distill_worker.training.directory.run_directory import ANALYSIS

_PAIRS_SHOWN: Final = 3


def show_analysis(facts: Mapping[str, Any], directory: Path) -> None:
    """Print the main figures of a student; `facts` is what `analyse` returns."""
    print_rows(("figure", "value"), list(_figures(facts)))
    wrong = f", and {len(facts['errors'])} of the images that the student gets wrong" if "errors" in facts else ""
    answers.print(f"all facts{wrong}: {directory / ANALYSIS}", markup=False)


def show_students(facts: Mapping[str, Any]) -> None:
    """Print the figures of each row of a comparison, and paired tests; `facts` is what `analyse_students` returns."""
    tables = [figure_rows(facts)] + ([rank_rows(facts)] if facts["baseline"] is not None else [])
    console = Console(highlight=False)
    for table in tables:
        console.print(result_table(*table), "", soft_wrap=False)


def _figures(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    rank, fidelity = facts["effective_rank"], facts["fidelity"]
    if (test := facts.get("test")) is not None:
        yield f"accuracy on {test['samples']} test samples", f"{test['accuracy']:.2%}"
        yield "expected calibration error", f"{facts['calibration']['ece']:.2%}"
    yield "effective rank of features, of logits", f"{rank['features']:.2f}, {rank['logits']:.2f}"
    if "teacher" in rank:
        yield "likewise of the teacher", f"{rank['teacher']['features']:.2f}, {rank['teacher']['logits']:.2f}"
    for name, of in (("bought", "bought samples"), ("test", "test samples")):
        if (one := fidelity.get(name)) is not None:
            yield (
                f"agreement with the teacher, KL from it: {one['samples']} {of}",
                f"{one['agreement']:.2%}, {one['kl']:.4f} nats",
            )
    if (correlation := facts["class_correlation"]) is not None and correlation["agreement"] is not None:
        yield "agreement on the correlations between classes", f"{correlation['agreement']:.3f}"
    if "sharpness" in facts:
        radii = facts["sharpness"]["radii"]
        yield f"rise of the loss at radius {radii[len(radii) // 2]}", f"{rise(facts['sharpness']):.4f} nats"
    for label, predicted, count in _most_confused(facts):
        yield escape(f"{label} taken for {predicted}"), str(count)


def _most_confused(facts: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """The pairs of label and other class with the most test samples."""
    names = facts["classes"]
    pairs = [
        (names[label], names[predicted], count)
        for label, row in enumerate(facts.get("confusion", ()))
        for predicted, count in enumerate(row)
        if label != predicted and count
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:_PAIRS_SHOWN]
