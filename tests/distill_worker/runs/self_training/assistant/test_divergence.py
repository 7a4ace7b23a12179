"""The divergence from the teacher, and the best scale and weight, beside sums by hand."""

import math

import pytest
import torch
from torch import Tensor

from distill_worker.runs.self_training.assistant.divergence import Mixture, best_mixture, best_scale, divergence


def _logs(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def test_divergence_is_the_mean_over_samples_in_nats() -> None:
    """By hand: 0.5 ln(0.5/0.25) + 0.5 ln(0.5/0.75) for the first sample, 0 for the second."""
    teacher, outputs = _logs([0.5, 0.5], [0.1, 0.9]), _logs([0.25, 0.75], [0.1, 0.9])
    expected = (0.5 * math.log(2) + 0.5 * math.log(2 / 3)) / 2
    assert divergence(teacher, outputs) == pytest.approx(expected)


def test_best_scale_undoes_shrinking() -> None:
    teacher = 4 * torch.randn(30, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale, smallest = best_scale(teacher.log_softmax(dim=1), teacher / 10**0.5)
    assert scale == pytest.approx(10**0.5)
    assert smallest == pytest.approx(0, abs=1e-12)


def test_mixture_is_the_weighted_geometric_mean_at_the_scale_of_the_ensemble() -> None:
    """By hand: with the scale 1/2, the assistant's probabilities are squared before."""
    ensemble, assistant = _logs([0.2, 0.8]), _logs([0.4, 0.6])
    products = [0.2**0.75 * 0.4 ** (2 * 0.25), 0.8**0.75 * 0.6 ** (2 * 0.25)]
    expected = torch.tensor([products], dtype=torch.float64) / sum(products)
    assert torch.allclose(Mixture(ensemble_scale=0.5, weight=0.25).of(ensemble, assistant).exp(), expected)


def test_mixture_without_weight_is_the_ensemble_as_it_is() -> None:
    ensemble, assistant = _logs([0.2, 0.8]), _logs([0.4, 0.6])
    assert Mixture(ensemble_scale=2, weight=0).of(ensemble, assistant) is ensemble


def test_assistant_that_helps_nowhere_has_no_weight() -> None:
    """The ensemble is the teacher, or the assistant says what the ensemble says."""
    teacher, other = _logs([0.2, 0.8], [0.6, 0.4]), _logs([0.7, 0.3], [0.5, 0.5])
    mixture, smallest = best_mixture(teacher, teacher, other)
    assert mixture.weight == 0
    assert smallest == pytest.approx(0)
    milder = _logs([0.3, 0.7], [0.55, 0.45])
    scale = best_scale(teacher, milder).scale
    assert best_mixture(teacher, milder, scale * milder)[0].weight == 0


def test_assistant_that_is_the_teacher_has_all_the_weight() -> None:
    teacher, other = _logs([0.2, 0.8], [0.6, 0.4]), _logs([0.7, 0.3], [0.5, 0.5])
    mixture, smallest = best_mixture(teacher, other, teacher)
    assert mixture.weight == 1
    assert smallest == pytest.approx(0)


def test_ensemble_whose_scale_alone_is_wrong_is_judged_by_its_best_scale() -> None:
    """It ranks as the teacher does, ten times too surely, as a method that compares directions alone may teach it."""
    teacher = torch.randn(30, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log_softmax(dim=1)
    assistant = (0.5 * teacher.roll(1, dims=1)).log_softmax(dim=1)
    assert divergence(teacher, (10 * teacher).log_softmax(dim=1)) > divergence(teacher, assistant)
    mixture, smallest = best_mixture(teacher, (10 * teacher).log_softmax(dim=1), assistant)
    assert mixture.weight == 0
    assert smallest == pytest.approx(0, abs=1e-9)


def test_ensemble_that_says_nothing_does_not_make_the_assistant_sure() -> None:
    """It contradicts the teacher, so its best scale is near 0. The assistant becomes at most 10 times as sure."""
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(30, 5, generator=generator, dtype=torch.float64).log_softmax(dim=1)
    mixture, _ = best_mixture(teacher, -teacher, teacher)
    assert best_scale(teacher, -teacher).scale < 0.1
    assert mixture.ensemble_scale == 0.1
