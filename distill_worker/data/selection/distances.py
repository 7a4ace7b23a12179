"""Squared Euclidean distances by matrix products, in float32 and in blocks."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_ROWS = 8192

Floats = NDArray[np.float32]


def centred(features: Floats) -> Floats:
    """The features less their mean, which changes no distance and keeps the digits of small ones."""
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    moved: Floats = features - mean
    return moved


def squared_norms(features: Floats) -> Floats:
    """The squared norm of each row."""
    norms: Floats = np.einsum("nd,nd->n", features, features)
    return norms


def product(features: Floats, others: Floats) -> Floats:
    """The inner product of every row with every other row."""
    # Kernels for small matrices may also compute with the memory beside them, and drop the results: their warnings do
    # not concern ours.
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        products: Floats = features @ others.T
    return products


def squared_distances(features: Floats, norms: Floats, others: Floats, other_norms: Floats) -> Floats:
    """`|x|^2 + |y|^2 - 2 x.y` for every row x of `features` and y of `others`; float32 `[N, M]`, never negative."""
    distances = product(features, others)
    distances *= -2
    distances += norms[:, None]
    distances += other_norms
    np.maximum(distances, 0, out=distances)
    return distances


def blocks(count: int, rows: int = _ROWS) -> Iterator[slice]:
    """Slices of `rows` rows each, in order."""
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))
