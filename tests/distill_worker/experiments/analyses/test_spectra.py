"""Spectra and effective rank, against plain formulas."""

from math import exp, log, sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distill_worker.experiments.analyses.spectra import effective_rank, spectrum


def _drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_spectrum_of_samples_along_the_axes() -> None:
    """Four points at ±3 and ±1 on two axes: the singular values are sqrt(2) 3 and sqrt(2) 1, wherever their mean is."""
    points = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]) + torch.tensor([5.0, -7.0])
    torch.testing.assert_close(spectrum(points), torch.tensor([1.0, 1 / 3], dtype=torch.float64))


@given(st.integers(0, 10_000), st.integers(2, 7), st.integers(1, 7))
def test_spectrum_has_the_roots_of_the_eigenvalues_of_the_covariance(seed: int, samples: int, width: int) -> None:
    values = _drawn(seed, samples, width)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(values.T, correction=0).reshape(width, width)).flip(0).clamp(min=0)
    expected = (eigenvalues / eigenvalues[0]).sqrt()[: min(samples, width)]
    torch.testing.assert_close(spectrum(values), expected, atol=1e-6, rtol=0)


def test_equal_samples_have_no_spectrum() -> None:
    """Though the mean of 0.1 is not 0.1 to the last bit."""
    values = spectrum(torch.full((7, 3), 0.1, dtype=torch.float64))
    assert values.tolist() == [0, 0, 0]
    assert effective_rank(values) == 0


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=6))
def test_effective_rank_is_the_exponential_of_the_entropy(values: list[float]) -> None:
    shares = [value / sum(values) for value in values]
    expected = exp(-sum(share * log(share) for share in shares))
    assert effective_rank(torch.tensor(values, dtype=torch.float64)) == pytest.approx(expected)
    assert 1 - 1e-9 <= expected <= len(values) + 1e-9


def test_effective_rank_of_equal_values_is_their_number() -> None:
    """Values of 0 add nothing."""
    assert effective_rank(torch.tensor([1.0, 1.0, 1.0, 0.0])) == pytest.approx(3)
    assert effective_rank(torch.tensor([1.0, 0.0])) == pytest.approx(1)


def test_spectrum_does_not_depend_on_the_scale() -> None:
    values = _drawn(0, 20, 4)
    torch.testing.assert_close(spectrum(values), spectrum(sqrt(2) * values))
