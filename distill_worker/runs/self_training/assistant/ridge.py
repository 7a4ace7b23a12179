"""Ridge regression in float64: one decomposition of the features gives every penalty and every held-out prediction."""

from collections.abc import Sequence

import torch
from torch import Tensor

from distill_worker.runs.self_training.assistant.divergence import best_scale
from distill_worker.runs.self_training.assistant.predictions import Predictions

_PENALTIES = torch.logspace(-4, 4, 33, dtype=torch.float64)
"""Times the mean squared singular value."""
_ROWS = 8192


class Ridge:
    """`argmin_{W, b} |Y - X W - b|^2 + penalty |W|^2` for any penalty; b is not penalised.

    With centred X = U S V^T, predictions are H Y with H = 1/n + U S^2 / (S^2 + penalty) U^T. Leaving out the samples F
    turns their residuals e_F into `(I - H_FF)^-1 e_F`, exactly, without another fit.

    Args:
        features: float64 `[samples, d]`.
        targets: float64 `[samples, classes]`.

    Source: Hoerl and Kennard 1970; Allen 1974 for the held-out residuals. Cost: O(n d min(n, d)), once.
    """

    def __init__(self, features: Tensor, targets: Tensor) -> None:
        self._targets = targets
        self._feature_mean, self._target_mean = features.mean(dim=0), targets.mean(dim=0)
        self._left, singular, self._right = torch.linalg.svd(features - self._feature_mean, full_matrices=False)
        self._squares = singular**2
        self._weighted = singular[:, None] * (self._left.T @ (targets - self._target_mean))

    @property
    def penalties(self) -> Tensor:
        """The penalties to choose from, ascending, float64; all are positive."""
        penalties: Tensor = _PENALTIES * self._squares.mean().clamp(min=torch.finfo(torch.float64).tiny)
        return penalties

    def predict(self, features: Tensor, penalty: float) -> Tensor:
        """The predictions for other samples, float64 `[others, classes]`."""
        coefficients = self._right.T @ (self._weighted / (self._squares + penalty)[:, None])
        predictions: Tensor = (features - self._feature_mean) @ coefficients + self._target_mean
        return predictions

    def leave_one_out(self, penalty: float) -> Tensor:
        """For each sample, the prediction of a fit to all others, float64 `[samples, classes]`."""
        shrunk = self._left * (self._squares / (self._squares + penalty))
        influence = 1 / len(self._targets) + (shrunk * self._left).sum(dim=1)
        predictions: Tensor = self._targets - self._residuals(shrunk) / (1 - influence)[:, None]
        return predictions

    def held_out(self, penalty: float, parts: Sequence[Tensor]) -> Tensor:
        """For each sample, the prediction of a fit without its part; the parts hold each row once, int64."""
        shrunk = self._left * (self._squares / (self._squares + penalty))
        residuals, predictions = self._residuals(shrunk), torch.empty_like(self._targets)
        for rows in parts:
            hat = 1 / len(self._targets) + shrunk[rows] @ self._left[rows].T
            left_out = torch.linalg.solve(torch.eye(len(rows), dtype=hat.dtype) - hat, residuals[rows])
            predictions[rows] = self._targets[rows] - left_out
        return predictions

    def _residuals(self, shrunk: Tensor) -> Tensor:
        centred = self._targets - self._target_mean
        residuals: Tensor = centred - shrunk @ (self._left.T @ centred)
        return residuals


def ridge_predictions(
    teacher: Tensor, bought: Tensor, pool: Tensor, parts: Sequence[Tensor]
) -> tuple[Predictions, Tensor]:
    """Predictions by ridge regression from features to centred log-probabilities.

    The penalty, and the scale of the predictions before the softmax, are those with the smallest mean
    KL(teacher || prediction) over the bought samples, each of which is left out in turn.

    Args:
        teacher: log-probabilities of the bought samples, float64 `[samples, classes]`.
        bought: their features, float32 `[samples, d]`.
        pool: features of other samples, float32 `[pool, d]`.
        parts: rows of the bought samples that are held out together; each row once.

    Returns:
        The predictions, and those of the bought samples of which each is left out alone, float32 `[samples, classes]`.
    """
    fit = Ridge(bought.double(), teacher - teacher.mean(dim=1, keepdim=True))
    tried = {penalty: best_scale(teacher, fit.leave_one_out(penalty)) for penalty in fit.penalties.tolist()}
    penalty = min(tried, key=lambda penalty: tried[penalty].divergence)

    def scaled(predictions: Tensor) -> Tensor:
        return (tried[penalty].scale * predictions).log_softmax(dim=1).float()

    of_pool = [scaled(fit.predict(rows.double(), penalty)) for rows in torch.split(pool, _ROWS)]
    predictions = Predictions(scaled(fit.held_out(penalty, parts)), torch.cat(of_pool))
    return predictions, scaled(fit.leave_one_out(penalty))
