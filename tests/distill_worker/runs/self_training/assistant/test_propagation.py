"""Label propagation, beside a dense solve in float64."""

import pytest
import torch
from torch import Tensor

from distill_worker.runs.self_training.assistant.divergence import best_scale
from distill_worker.runs.self_training.assistant.propagation import Graph, propagated

COUNT, CLASSES = 60, 4


def _features(count: int = COUNT) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(0))


def _dense(features: Tensor) -> Tensor:
    """The normalised graph, entry by entry."""
    directions = [row / row.norm() for row in features.double()]
    similarity = [[float(one @ other) for other in directions] for one in directions]
    weights = torch.zeros(len(features), len(features), dtype=torch.float64)
    for row, values in enumerate(similarity):
        others = sorted((column for column in range(len(values)) if column != row), key=lambda column: -values[column])
        for column in others[:10]:
            weights[row, column] += max(values[column], 0)
            weights[column, row] += max(values[column], 0)
    roots = weights.sum(dim=1).sqrt()
    return weights / roots[:, None] / roots[None, :]


@pytest.mark.parametrize("alpha", [0.5, 0.99])
def test_spread_equals_the_dense_solve(alpha: float) -> None:
    features = _features()
    values = torch.randn(COUNT, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values[:, 2] = 0
    expected = torch.linalg.solve(torch.eye(COUNT, dtype=torch.float64) - alpha * _dense(features), values)
    assert torch.allclose(Graph(features).spread(values, alpha), expected, rtol=1e-5, atol=1e-6)


def test_predictions_equal_those_of_dense_solves() -> None:
    """For each part, and for all; with the alpha and the scale that are best on the held-out samples."""
    features, bought = _features(), 20
    generator = torch.Generator().manual_seed(2)
    teacher = (3 * torch.randn(bought, CLASSES, generator=generator, dtype=torch.float64)).log_softmax(dim=1)
    targets = teacher - teacher.mean(dim=1, keepdim=True)
    parts = [torch.arange(start, bought, 4) for start in range(4)]
    graph = _dense(features)

    def predicted(alpha: float, used: list[int]) -> Tensor:
        paths = torch.linalg.inv(torch.eye(COUNT, dtype=torch.float64) - alpha * graph)[:, used]
        mean = targets[used].mean(dim=0)
        predictions: Tensor = (paths @ targets[used] + 1e-6 * mean) / (paths.sum(dim=1, keepdim=True) + 1e-6)
        return predictions

    smallest, expected = torch.inf, (torch.empty(0), torch.empty(0))
    for alpha in (0.5, 0.9, 0.99):
        held_out = torch.empty_like(targets)
        for rows in parts:
            held_out[rows] = predicted(alpha, [row for row in range(bought) if row not in rows.tolist()])[rows]
        scale, divergence = best_scale(teacher, held_out)
        if divergence < smallest:
            smallest = divergence
            of_pool = predicted(alpha, list(range(bought)))[bought:]
            expected = (scale * held_out).log_softmax(dim=1), (scale * of_pool).log_softmax(dim=1)
    for outputs, wanted in zip(propagated(teacher, features[:bought], features[bought:], parts), expected, strict=True):
        assert torch.allclose(outputs.double(), wanted, atol=1e-4)


def test_sample_that_no_path_reaches_gets_the_mean() -> None:
    """Two groups at right angles, and bought samples in one alone."""
    generator = torch.Generator().manual_seed(3)
    near, far = (0.01 * torch.randn(20, 6, generator=generator) for _ in range(2))
    near[:, 0] += 1
    far[:, 1] += 1
    teacher = torch.randn(8, CLASSES, generator=generator, dtype=torch.float64).log_softmax(dim=1)
    parts = [torch.arange(start, 8, 4) for start in range(4)]
    outputs = propagated(teacher, near[:8], torch.cat([near[8:], far]), parts)
    assert outputs.pool.isfinite().all()
    assert torch.allclose(outputs.pool[12:], outputs.pool[12].expand(20, -1), atol=1e-5)
