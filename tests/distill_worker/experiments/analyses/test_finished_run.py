"""The images that a student is judged on."""

from types import SimpleNamespace
from typing import Any

import torch

from distill_worker.experiments.analyses.finished_run import FinishedRun

IMAGES = 5000


def _run(unbought: list[int]) -> FinishedRun:
    """A run without test images, each of whose training images is its own place."""
    train = SimpleNamespace(images=torch.arange(IMAGES))
    samples: Any = SimpleNamespace(
        dataset=SimpleNamespace(has_test=False, train=train), unbought=unbought, chosen=[1, 2, 3]
    )
    nothing: Any = None
    return FinishedRun(nothing, nothing, samples)


def test_images_without_labels_are_drawn_from_the_whole_set() -> None:
    """Not the first by their path, which are of a few classes; and the same ones each time."""
    unbought = list(range(100, IMAGES))
    judged = _run(unbought).judged_images.tolist()
    assert len(set(judged)) == len(judged) == 2000
    assert set(judged) <= set(unbought)
    for start in range(100, IMAGES, 980):  # each fifth has about a fifth of them: 400, with a deviation of 14
        assert abs(sum(start <= place < start + 980 for place in judged) - 400) < 70
    assert _run(unbought).judged_images.tolist() == judged


def test_fewer_images_are_taken_as_they_are() -> None:
    assert _run([7, 8, 9]).judged_images.tolist() == [7, 8, 9]
    assert _run([]).judged_images.tolist() == [1, 2, 3]
