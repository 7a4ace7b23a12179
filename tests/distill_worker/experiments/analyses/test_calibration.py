"""The calibration error, against a loop over the bins, and by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill_worker.experiments.analyses.calibration import BINS, calibration


def test_error_of_three_samples_by_hand() -> None:
    """Two in the bin of 0.9, one of them right; one in that of 0.6, right: 2/3 |0.5 - 0.91| + 1/3 |1 - 0.6|."""
    probabilities = torch.tensor([[0.9, 0.1], [0.08, 0.92], [0.4, 0.6]], dtype=torch.float64)
    facts = calibration(probabilities, torch.tensor([0, 0, 1]))
    assert facts["ece"] == pytest.approx(2 / 3 * 0.41 + 1 / 3 * 0.4)
    assert len(facts["bins"]) == BINS
    assert facts["bins"][13] == {"confidence": pytest.approx(0.91), "accuracy": 0.5, "samples": 2}
    assert facts["bins"][8] == {"confidence": pytest.approx(0.6), "accuracy": 1.0, "samples": 1}
    assert facts["bins"][0] == {"confidence": None, "accuracy": None, "samples": 0}


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 5))
def test_error_equals_a_loop_over_the_bins(seed: int, samples: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probabilities = (3 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)).softmax(dim=1)
    labels = torch.randint(classes, (samples,), generator=generator)
    expected, counts = 0.0, []
    for place in range(BINS):
        inside = [
            (max(row), row.index(max(row)) == label)
            for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True)
            if place / BINS < max(row) <= (place + 1) / BINS
        ]
        counts.append(len(inside))
        if inside:
            gap = sum(right for _, right in inside) / len(inside) - sum(sure for sure, _ in inside) / len(inside)
            expected += len(inside) / samples * abs(gap)
    facts = calibration(probabilities, labels)
    assert facts["ece"] == pytest.approx(expected)
    assert [one["samples"] for one in facts["bins"]] == counts


def test_certainty_is_in_the_last_bin() -> None:
    facts = calibration(torch.tensor([[0.0, 1.0]]), torch.tensor([1]))
    assert (facts["ece"], facts["bins"][-1]["samples"]) == (0, 1)
