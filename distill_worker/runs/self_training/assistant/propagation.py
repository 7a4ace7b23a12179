"""Label propagation: the outputs of bought samples spread along a graph of nearest neighbours."""

from collections.abc import Sequence

import torch
from torch import Tensor

from distill_worker.runs.self_training.assistant.divergence import best_scale
from distill_worker.runs.self_training.assistant.predictions import Predictions

_NEIGHBOURS = 10
_ROWS = 1024
_ALPHAS = (0.5, 0.9, 0.99)
"""How far outputs spread: a path of k edges counts alpha^k times."""
_TOLERANCE = 1e-10
_MOST_ITERATIONS = 1000
_PRIOR = 1e-6
"""The weight of the mean output, which samples get that no path reaches."""


class Graph:
    """Samples and their nearest neighbours by cosine similarity: `S = D^-1/2 W D^-1/2`, sparse and symmetric.

    `W = A + A^T`, where A has the similarities of each sample to its 10 nearest others, negative ones as 0.

    Args:
        features: float32 `[samples, d]`.
    """

    def __init__(self, features: Tensor) -> None:
        directions = torch.nn.functional.normalize(features, dim=1)
        count = len(directions)
        nearest = min(_NEIGHBOURS, count - 1)
        similarities, places = list[Tensor](), list[Tensor]()
        for rows in torch.split(torch.arange(count), _ROWS):
            cosines = directions[rows] @ directions.T
            cosines[torch.arange(len(rows)), rows] = -torch.inf
            values, columns = cosines.topk(nearest, dim=1)
            similarities.append(values.double().clamp(min=0).flatten())
            places.append(torch.stack([rows.repeat_interleave(nearest), columns.flatten()]))
        edges, weights = torch.cat(places, dim=1), torch.cat(similarities)
        both = torch.cat([edges, edges.flip(0)], dim=1)
        weights = torch.cat([weights, weights])
        degrees = torch.zeros(count, dtype=torch.float64).index_add_(0, both[0], weights)
        inverse_roots = torch.where(degrees > 0, degrees.rsqrt(), 0)
        normalised = inverse_roots[both[0]] * weights * inverse_roots[both[1]]
        self._normalised = torch.sparse_coo_tensor(both, normalised, (count, count), check_invariants=True).coalesce()

    def spread(self, values: Tensor, alpha: float) -> Tensor:
        """`(I - alpha S)^-1 values`, by conjugate gradients; float64 `[samples, columns]`.

        Source: Zhou et al. 2003, "Learning with Local and Global Consistency"; Iscen et al. 2019, arXiv 1904.04717.
        """
        solution = torch.zeros_like(values)
        residual = values.clone()
        direction = residual.clone()
        squared = (residual**2).sum(dim=0)
        enough = _TOLERANCE**2 * squared
        for _ in range(_MOST_ITERATIONS):
            if bool((squared <= enough).all()):
                break
            image = direction - alpha * torch.sparse.mm(self._normalised, direction)
            step = _ratio(squared, (direction * image).sum(dim=0))
            solution += step * direction
            residual -= step * image
            before, squared = squared, (residual**2).sum(dim=0)
            direction = residual + _ratio(squared, before) * direction
        return solution


def propagated(teacher: Tensor, bought: Tensor, pool: Tensor, parts: Sequence[Tensor]) -> Predictions:
    """Predictions by propagation of centred log-probabilities: their means, weighted by the paths to each sample.

    How far outputs spread, and the scale of the predictions before the softmax, are those with the smallest mean
    KL(teacher || prediction) over the held-out samples.

    Args:
        teacher: log-probabilities of the bought samples, float64 `[samples, classes]`.
        bought: their features, float32 `[samples, d]`.
        pool: features of other samples, float32 `[pool, d]`.
        parts: rows of the bought samples that are held out together; each row once.

    *Departs* from the sources: means of log-probabilities in place of sums of labels, because the bought outputs are
    distributions.
    """
    graph, count = Graph(torch.cat([bought, pool])), len(bought)
    targets = teacher - teacher.mean(dim=1, keepdim=True)
    with_mass = torch.cat([targets, torch.ones(count, 1, dtype=torch.float64)], dim=1)

    def predicted(is_used: Tensor, alpha: float) -> Tensor:
        values = torch.zeros(count + len(pool), with_mass.shape[1], dtype=torch.float64)
        values[:count] = with_mass * is_used[:, None]
        spread = graph.spread(values, alpha) + _PRIOR * with_mass[is_used].mean(dim=0)
        return spread[:, :-1] / spread[:, -1:]

    def held_out(alpha: float) -> Tensor:
        predictions = torch.empty_like(targets)
        for rows in parts:
            is_used = torch.ones(count, dtype=torch.bool)
            is_used[rows] = False
            predictions[rows] = predicted(is_used, alpha)[rows]
        return predictions

    of_alpha = {alpha: held_out(alpha) for alpha in _ALPHAS}
    scaled = {alpha: best_scale(teacher, predictions) for alpha, predictions in of_alpha.items()}
    alpha = min(scaled, key=lambda alpha: scaled[alpha].divergence)
    of_pool = predicted(torch.ones(count, dtype=torch.bool), alpha)[count:]
    return Predictions(*((scaled[alpha].scale * of).log_softmax(dim=1).float() for of in (of_alpha[alpha], of_pool)))


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """0 for a column that is solved exactly."""
    return torch.where(denominator > 0, numerator / denominator, 0)
