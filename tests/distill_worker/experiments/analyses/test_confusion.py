"""Confusion by label and predicted class."""

import torch

from distill_worker.experiments.analyses.confusion import class_accuracy, confusion


def test_counts_and_accuracy_of_each_class() -> None:
    """Class 2 has no sample."""
    counts = confusion(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 2, 0, 0]), 3)
    assert counts.tolist() == [[2, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert class_accuracy(counts) == [2 / 3, 0.0, None]
