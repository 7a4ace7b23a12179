"""k-center: always the sample that is farthest from everything chosen so far."""

from collections.abc import Sequence

import numpy as np

from distill_worker.data.selection.candidates import Candidates
from distill_worker.data.selection.distances import Floats, blocks, centred, squared_distances, squared_norms

_FRONT = 768


def k_center(candidates: Candidates, n: int, taken: Sequence[int] = (), *, front: int = _FRONT) -> list[int]:
    """`argmax_x min_c |x - c|` over the chosen and taken samples c, n times; of equals, the first in hash order.

    Where nothing is taken, the first in hash order is the first that is chosen.

    Args:
        candidates: with features `[N, d]`.
        n: how many to choose.
        taken: positions that are chosen already.
        front: how many of the farthest candidates are compared together; changes the time alone.

    Returns:
        n positions, in the order of choice; nested.

    Source: Sener and Savarese 2018, arXiv 1708.00489, algorithm 1; Gonzalez 1985.
    *Departs*: no robust refinement by a mixed integer program; a greedy choice is within twice the best radius.
    Cost: O(n N d), nearly all of it in matrix products; memory O(N d).
    """
    features = centred(candidates.features)
    norms = squared_norms(features)
    nearest = np.full(len(candidates), np.inf, np.float32)
    chosen: list[int] = []
    news = list(taken)
    if not news:
        chosen = news = [0]
    while True:
        _come_nearer(nearest, features, norms, news)
        if len(chosen) >= n:
            return chosen[:n]
        news = _farthest(nearest, features, norms, front, n - len(chosen))
        chosen = chosen + news


def _come_nearer(nearest: Floats, features: Floats, norms: Floats, news: Sequence[int]) -> None:
    """Update with the new centres `nearest`, the squared distance of each sample to its nearest centre."""
    for few in blocks(len(news), _FRONT):
        centres = np.asarray(news[few])
        for rows in blocks(len(features)):
            distances = squared_distances(features[rows], norms[rows], features[centres], norms[centres])
            np.minimum(nearest[rows], distances.min(axis=1), out=nearest[rows])
    nearest[np.asarray(news)] = -np.inf


def _farthest(nearest: Floats, features: Floats, norms: Floats, looked_at: int, most: int) -> list[int]:
    """The next selected positions, at most `most`, as far as the farthest candidates alone decide them.

    Distances only shrink as centres are added. So the farthest of a few, at its true distance, is the farthest of all
    as long as it is farther than any of the others was before.
    """
    order = np.argsort(-nearest, kind="stable")
    front = np.sort(order[:looked_at])
    others = nearest[order[looked_at]] if len(order) > looked_at else -np.inf
    mine, vectors, lengths = nearest[front], features[front], norms[front]
    between = squared_distances(vectors, lengths, vectors, lengths)
    news: list[int] = []
    while len(news) < most:
        at = int(mine.argmax())
        if mine[at] == -np.inf or (news and mine[at] <= others):
            break
        news.append(int(front[at]))
        np.minimum(mine, between[at], out=mine)
        mine[at] = -np.inf
    return news
