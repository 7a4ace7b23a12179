"""All signs that a finished run shows."""

from pathlib import Path

from distill_worker.data.agreement import Counts
from distill_worker.experiments.failure_signs.above_teacher import above_answers
from distill_worker.experiments.failure_signs.disagreement import teacher_against_labels
from distill_worker.experiments.failure_signs.rising_loss import Rise, rise_of, rising_loss
from distill_worker.experiments.results.metrics_file import read_metrics


def rise_in(directory: Path) -> Rise | None:
    """How the loss of a run rose again; None if it did not, or the metrics in its directory cannot be read."""
    try:
        return rise_of(read_metrics(directory))
    except OSError:
        return None


def signs_of_training(rise: Rise | None) -> list[str]:
    """A sentence or two for each sign in the training of a run; see `rise_in`."""
    sign = None if rise is None else rising_loss({"": rise})
    return [] if sign is None else [sign]


def signs_of_answers(counts: Counts, test_accuracy: float, *, are_typical: bool) -> list[str]:
    """A sentence or two for each sign in how often the teacher agrees with the labels.

    Args:
        counts: of the bought samples.
        test_accuracy: of the student, a share of 1.
        are_typical: whether the samples were selected without regard to how hard they are.
    """
    signs = [teacher_against_labels(counts), above_answers(test_accuracy, counts) if are_typical else None]
    return [sign for sign in signs if sign is not None]
