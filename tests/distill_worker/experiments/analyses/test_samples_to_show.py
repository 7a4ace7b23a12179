"""The samples that an analysis shows."""

import pytest
import torch
from torch import Tensor

from distill_worker.experiments.analyses.samples_to_show import disputed, errors


def _log(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def test_errors_are_ordered_by_the_confidence_in_them() -> None:
    """Sample 1 is right; 2 is wrong with more confidence than 0."""
    student = _log([[0.6, 0.3, 0.1], [0.9, 0.05, 0.05], [0.1, 0.2, 0.7]])
    shown = errors(student, torch.tensor([1, 0, 0]), teacher=_log([[0.2, 0.8, 0.0]] * 3))
    assert [(one["index"], one["label"]) for one in shown] == [(2, 0), (0, 1)]
    assert [(one["class"], one["probability"]) for one in shown[0]["top"]] == [
        (2, pytest.approx(0.7)),
        (1, pytest.approx(0.2)),
        (0, pytest.approx(0.1)),
    ]
    assert [one["class"] for one in shown[0]["teacher"]] == [1, 0]
    assert "teacher" not in errors(student, torch.tensor([1, 0, 0]))[0]


def test_disputed_samples_are_ordered_by_their_divergence() -> None:
    """Their indices are those of the training set."""
    teacher = _log([[0.5, 0.5], [0.9, 0.1], [1.0, 0.0]])
    student = _log([[0.5, 0.5], [0.5, 0.5], [0.1, 0.9]])
    shown = disputed(teacher, student, torch.tensor([7, 20, 31]), torch.tensor([0, 1, 0]))
    assert [(one["index"], one["label"]) for one in shown] == [(31, 0), (20, 1), (7, 0)]
    assert [one["class"] for one in shown[0]["teacher"]] == [0]
    assert [one["class"] for one in shown[0]["student"]] == [1, 0]
    assert [one["kl"] for one in shown] == pytest.approx([2.302585, 0.368064, 0], abs=1e-6)


def test_most_are_left_out() -> None:
    uncertain = torch.full((100, 2), 0.5).double().log()
    assert len(errors(uncertain, torch.ones(100, dtype=torch.int64))) == 24
    assert len(disputed(uncertain, uncertain, torch.arange(100), torch.zeros(100, dtype=torch.int64))) == 12
