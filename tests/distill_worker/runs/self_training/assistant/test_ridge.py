"""Ridge regression, beside explicit fits in float64."""

import pytest
import torch
from torch import Tensor

from distill_worker.runs.self_training.assistant.divergence import divergence
from distill_worker.runs.self_training.assistant.ridge import Ridge, ridge_predictions

CLASSES = 4
SHAPES = [(20, 6), (12, 30)]
"""More samples than features, and fewer."""


def _drawn(samples: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(samples)
    features = torch.randn(samples, width, generator=generator, dtype=torch.float64)
    return features, torch.randn(samples, CLASSES, generator=generator, dtype=torch.float64)


def _fitted(features: Tensor, targets: Tensor, penalty: float, others: Tensor) -> Tensor:
    """The predictions of one fit by the normal equations, where a column of ones has no penalty."""
    with_ones = torch.cat([features, torch.ones(len(features), 1, dtype=torch.float64)], dim=1)
    penalties = torch.full((with_ones.shape[1],), penalty, dtype=torch.float64)
    penalties[-1] = 0
    weights = torch.linalg.solve(with_ones.T @ with_ones + penalties.diag(), with_ones.T @ targets)
    predictions: Tensor = torch.cat([others, torch.ones(len(others), 1, dtype=torch.float64)], dim=1) @ weights
    return predictions


def _without(rows: Tensor, count: int) -> Tensor:
    return torch.tensor([row for row in range(count) if row not in rows.tolist()])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("place", [0, 16, -1])
def test_leave_one_out_equals_as_many_fits_as_samples(shape: tuple[int, int], place: int) -> None:
    features, targets = _drawn(*shape)
    fit = Ridge(features, targets)
    penalty = float(fit.penalties[place])
    for row, prediction in enumerate(fit.leave_one_out(penalty)):
        others = _without(torch.tensor([row]), len(features))
        expected = _fitted(features[others], targets[others], penalty, features[row : row + 1])[0]
        assert torch.allclose(prediction, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("place", [0, 16, -1])
def test_held_out_equals_one_fit_for_each_part(shape: tuple[int, int], place: int) -> None:
    features, targets = _drawn(*shape)
    fit = Ridge(features, targets)
    penalty = float(fit.penalties[place])
    parts = [torch.arange(start, len(features), 3) for start in range(3)]
    predictions = fit.held_out(penalty, parts)
    for rows in parts:
        others = _without(rows, len(features))
        expected = _fitted(features[others], targets[others], penalty, features[rows])
        assert torch.allclose(predictions[rows], expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
def test_prediction_equals_that_of_the_normal_equations(shape: tuple[int, int]) -> None:
    features, targets = _drawn(*shape)
    others = _drawn(7, shape[1])[0]
    fit = Ridge(features, targets)
    penalty = float(fit.penalties[10])
    expected = _fitted(features, targets, penalty, others)
    assert torch.allclose(fit.predict(others, penalty), expected, rtol=0, atol=1e-9)


def test_features_that_say_nothing_predict_the_mean() -> None:
    """All samples have the same features, so every singular value is 0."""
    _, targets = _drawn(6, 3)
    fit = Ridge(torch.ones(6, 3, dtype=torch.float64), targets)
    penalty = float(fit.penalties[0])
    assert torch.allclose(
        fit.predict(torch.zeros(2, 3, dtype=torch.float64), penalty), targets.mean(dim=0).expand(2, -1)
    )
    assert torch.allclose(fit.leave_one_out(penalty)[0], targets[1:].mean(dim=0))


def test_outputs_of_a_linear_teacher_are_its_own() -> None:
    """The teacher's logits are linear in the features: the smallest penalty and the scale 1 are best."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(5, CLASSES, generator=generator)
    bought, pool = (torch.randn(count, 5, generator=generator) for count in (40, 9))
    teacher = (bought @ weights).double().log_softmax(dim=1)
    parts = [torch.arange(start, 40, 4) for start in range(4)]
    predictions, left_out = ridge_predictions(teacher, bought, pool, parts)
    for outputs, features in ((predictions.held_out, bought), (predictions.pool, pool), (left_out, bought)):
        assert torch.allclose(outputs.exp(), (features @ weights).softmax(dim=1), atol=1e-3)


def test_penalty_and_scale_are_the_best_for_samples_that_are_left_out() -> None:
    """No penalty and no scale of the grid has a smaller divergence, by explicit fits."""
    features, targets = _drawn(10, 3)
    teacher = (3 * targets).log_softmax(dim=1)
    centred = teacher - teacher.mean(dim=1, keepdim=True)
    smallest = torch.inf
    for penalty in Ridge(features.float().double(), centred).penalties.tolist():
        rows = [torch.tensor([row]) for row in range(10)]
        others = [_without(row, 10) for row in rows]
        of_all = [
            _fitted(features[rest], centred[rest], penalty, features[row])
            for rest, row in zip(others, rows, strict=True)
        ]
        for scale in torch.logspace(-1, 1, 41, dtype=torch.float64).tolist():
            outputs = (scale * torch.cat(of_all)).log_softmax(dim=1)
            smallest = min(smallest, float((teacher.exp() * (teacher - outputs)).sum(dim=1).mean()))
    _, left_out = ridge_predictions(teacher, features.float(), features.float(), [torch.arange(5), torch.arange(5, 10)])
    assert divergence(teacher, left_out.double()) == pytest.approx(smallest, rel=1e-4)
