"""Correlations between classes, against NumPy's and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill_worker.experiments.analyses.correlations import agreement, class_correlations


@given(st.integers(0, 10_000), st.integers(3, 30), st.integers(2, 6))
def test_correlations_are_those_of_numpy(seed: int, samples: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(samples, classes, generator=generator).double().log_softmax(dim=1)
    np.testing.assert_allclose(class_correlations(values), np.corrcoef(values.numpy().T), atol=1e-9)


def test_constant_class_correlates_with_no_other() -> None:
    values = torch.tensor([[-0.1, -2.0, -1.0], [-0.1, -3.0, -2.0], [-0.1, -4.0, -3.0]])
    assert class_correlations(values).tolist() == [
        pytest.approx([1, 0, 0]),
        pytest.approx([0, 1, 1]),
        pytest.approx([0, 1, 1]),
    ]


def test_agreement_is_the_correlation_of_the_entries_above_the_diagonal() -> None:
    """By hand: 1, 2, 3 against 2, 4, 7 has 5 / sqrt(2 * 38/3)."""
    one = torch.tensor([[9.0, 1.0, 2.0], [0.0, 9.0, 3.0], [0.0, 0.0, 9.0]], dtype=torch.float64)
    other = torch.tensor([[5.0, 2.0, 4.0], [8.0, 5.0, 7.0], [8.0, 8.0, 5.0]], dtype=torch.float64)
    assert agreement(one, other) == pytest.approx(5 / (2 * 38 / 3) ** 0.5)
    assert agreement(one, one) == pytest.approx(1)


def test_agreement_of_two_classes_or_of_equal_entries_is_undefined() -> None:
    assert agreement(torch.eye(2), torch.eye(2)) is None
    assert agreement(torch.eye(3), torch.rand(3, 3)) is None
