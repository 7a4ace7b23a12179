"""Fidelity, against torch's own divergence and by hand."""

from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import kl_div

from distill_worker.training.finished.fidelity import divergences, fidelity


def test_fidelity_of_two_samples_by_hand() -> None:
    """The first is equal; the second has KL = 0.75 log(0.75 / 0.25) + 0.25 log(0.25 / 0.75)."""
    teacher = torch.tensor([[0.5, 0.5], [0.75, 0.25]], dtype=torch.float64).log()
    student = torch.tensor([[0.5, 0.5], [0.25, 0.75]], dtype=torch.float64).log()
    expected = (0.75 * log(3) - 0.25 * log(3)) / 2
    assert fidelity(teacher, student) == {"samples": 2, "agreement": 0.5, "kl": pytest.approx(expected)}


@given(st.integers(0, 10_000), st.integers(1, 20), st.integers(2, 6))
def test_divergences_are_those_of_torch(seed: int, samples: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    teacher, student = (
        torch.randn(samples, classes, generator=generator).double().log_softmax(dim=1) for _ in range(2)
    )
    expected = kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)
    torch.testing.assert_close(divergences(teacher, student), expected)
    assert (divergences(teacher, student) >= -1e-12).all()


def test_divergence_from_a_label_is_its_surprise() -> None:
    """A class of probability 0 adds nothing: what is left is -log q of the label."""
    teacher = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64).log()
    student = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64).log()
    assert divergences(teacher, student).tolist() == pytest.approx([-log(0.2)])
