"""Pseudo-labels: which samples teach, and what."""

from math import log

import pytest
import torch

from distill_worker.losses import pseudo_label_loss


def test_value_by_hand() -> None:
    """Views of (9/10, 1/10) and (6/10, 4/10), a student of (1/4, 3/4): where class 0 is the label it costs log 4."""
    view = torch.tensor([[log(9), 0.0], [log(1.5), 0.0]], dtype=torch.float64)
    student = torch.tensor([[0.0, log(3)], [0.0, log(3)]], dtype=torch.float64)
    assert float(pseudo_label_loss(student, view, threshold=0.8)) == pytest.approx(log(4) / 2, rel=1e-12)
    assert float(pseudo_label_loss(student, view, threshold=0.5)) == pytest.approx(log(4), rel=1e-12)


def test_minimum_is_certainty_of_the_label_and_nothing_is_taught_below_the_threshold() -> None:
    view = torch.tensor([[5.0, 0.0, 0.0]])
    assert float(pseudo_label_loss(torch.tensor([[60.0, 0.0, 0.0]]), view)) == pytest.approx(0.0, abs=1e-6)
    assert float(pseudo_label_loss(torch.tensor([[0.0, 60.0, 0.0]]), view, threshold=1.0)) == 0.0


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_threshold_that_is_no_probability_is_rejected(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold: expected a probability from 0 to 1"):
        pseudo_label_loss(torch.zeros(2, 3), torch.zeros(2, 3), threshold=threshold)
