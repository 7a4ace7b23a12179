"""Typical: from each cluster, the samples where it is densest."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from distill_worker.data.selection.candidates import Candidates
from distill_worker.data.selection.distances import Floats, blocks, centred, squared_distances, squared_norms
from distill_worker.data.selection.turns import in_turns

MOST_CLUSTERS = 500
SMALL_CLUSTER = 5
NEIGHBOURS = 20
MOST_PASSES = 20


def typical(candidates: Candidates, n: int, taken: Sequence[int] = ()) -> list[int]:
    """In turn from each cluster, the next smallest `mean |x - y|` over the 20 nearest neighbours y in the cluster.

    There are as many k-means clusters as samples, taken ones included, at most 500. Each turn goes to the cluster with
    the fewest chosen and taken samples, clusters of up to 5 samples after all others, then to the largest one.

    Args:
        candidates: with features `[N, d]`.
        n: how many to choose.
        taken: positions that are chosen already; their clusters wait until the others have given as many.

    Returns:
        n positions, in the order of choice. *Not nested* up to 500 samples, because the clusters depend on n; pass what
        is bought as `taken` to add to it. From 500 on it is.

    Source: Hacohen et al. 2022, arXiv 2202.02794, section 3, and its authors' code for the two bounds.
    *Departs*: clusters by up to 20 passes of Lloyd's algorithm from random samples, not by mini-batches from k-means++;
    neighbours among all of the cluster, chosen or not.
    Cost: O(N K d) a pass with K clusters, O(sum of squared cluster sizes * d) for the neighbours; memory O(N d).
    """
    features = centred(candidates.features)
    labels = clusters(features, min(n + len(taken), MOST_CLUSTERS))
    groups = [members for _, members in _groups(labels)]
    groups.sort(key=lambda group: (-len(group), int(group[0])))
    large = [_by_typicality(features, group) for group in groups if len(group) > SMALL_CLUSTER]
    chosen = in_turns(large, n, taken)
    if len(chosen) < n:
        small = [_by_typicality(features, group) for group in groups if len(group) <= SMALL_CLUSTER]
        chosen = chosen + in_turns(small, n - len(chosen), taken)
    return chosen


def clusters(features: Floats, count: int, most_passes: int = MOST_PASSES) -> NDArray[np.int64]:
    """The k-means cluster of each sample by Lloyd's algorithm, `[N]`; the first samples are the first centres.

    Samples come in hash order, so these are drawn at random. A centre without samples stays where it is.
    """
    norms = squared_norms(features)
    centres = features[:count].copy()
    labels = np.full(len(features), -1)
    for _ in range(most_passes):
        lengths, before = squared_norms(centres), labels
        labels = np.concatenate(
            [
                squared_distances(features[rows], norms[rows], centres, lengths).argmin(axis=1)
                for rows in blocks(len(features))
            ]
        )
        if np.array_equal(labels, before):
            break
        for label, members in _groups(labels):
            centres[label] = features[members].mean(axis=0, dtype=np.float64)
    return labels


def mean_distances(features: Floats, neighbours: int = NEIGHBOURS) -> NDArray[np.float64]:
    """The mean distance of each row to its `neighbours` nearest other rows, or to all of them if fewer, `[N]`."""
    nearest = min(neighbours, len(features) - 1)
    if nearest == 0:
        return np.zeros(len(features))
    norms = squared_norms(features)
    means = np.empty(len(features))
    for rows in blocks(len(features), 1024):
        distances = squared_distances(features[rows], norms[rows], features, norms)
        distances[np.arange(len(distances)), np.arange(rows.start, rows.stop)] = np.inf
        closest = np.partition(distances, nearest - 1, axis=1)[:, :nearest]
        means[rows] = np.sqrt(np.sort(closest, axis=1), dtype=np.float64).mean(axis=1)
    return means


def _by_typicality(features: Floats, group: NDArray[np.int64]) -> list[int]:
    order = np.argsort(mean_distances(features[group]), kind="stable")
    return [int(position) for position in group[order]]


def _groups(labels: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each label, and the positions with it, ascending."""
    order = np.argsort(labels, kind="stable")
    distinct, starts = np.unique(labels[order], return_index=True)
    yield from zip(distinct.tolist(), np.split(order, starts[1:]), strict=True)
