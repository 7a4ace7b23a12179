"""The classes of pictures, on standard output."""

from collections.abc import Sequence

from distill_worker.cli.tables.rows import print_aligned
from distill_worker.training.finished.predict import Prediction


def show_predictions(predicted: Sequence[Prediction]) -> None:
    """Print a row for each picture, at least one: its classes with their probabilities, the most probable first."""
    columns, rows = ["image"], [[one.image] for one in predicted]
    for place in range(len(predicted[0].top)):
        columns += [f"class {place + 1}", "probability"]
        for row, one in zip(rows, predicted, strict=True):
            row += [one.top[place].name, f"{one.top[place].probability:.2%}"]
    print_aligned(columns, rows)
