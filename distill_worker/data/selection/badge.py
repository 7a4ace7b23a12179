"""BADGE: samples that would change the student much, each in another direction."""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from distill_worker.data.selection.candidates import Candidates
from distill_worker.data.selection.distances import Floats, blocks, product, squared_norms
from distill_worker.data.selection.scores import log_softmax

WAITING = 64
REJECTIONS = 64
"""After this many rejections in a row, the distances to waiting samples are computed."""


def badge(candidates: Candidates, n: int, taken: Sequence[int] = (), *, most_waiting: int = WAITING) -> list[int]:
    """k-means++ on the gradients `g(x) = (p - onehot(argmax p)) outer h` of the last layer at its own best guess.

    p is the student's distribution and h what its last layer takes. The first sample is the first in hash order; each
    further one is drawn with a probability proportional to its squared distance to the nearest one drawn before,
    `|g - g'|^2 = |a|^2 |h|^2 + |a'|^2 |h'|^2 - 2 (a.a') (h.h')` with `a = p - onehot(argmax p)`: no `[N, classes * d]`
    is ever made.

    A draw proposes by distances in which the samples chosen last are still missing, and accepts with the probability
    true distance / that distance: the same distribution, and distances can be taken by matrix products. Its numbers are
    hashes of the seed, of how many samples there are and how many of them wait, and of the attempt.

    Args:
        candidates: with the student's logits `[N, classes]` and features h `[N, d]`.
        n: how many to choose.
        taken: positions that are chosen already. No distances to them are taken: the student has learnt from them.
        most_waiting: how many chosen samples wait until the distances of all others to them are taken at once.

    Returns:
        n positions, in the order of choice; nested for the same student and the same taken samples.

    Source: Ash et al. 2020, arXiv 1906.03671, algorithm 1. Where all that is left is at distance 0 (a student without
    doubt), hash order goes on.
    Cost: O(n N (d + classes)), nearly all of it in matrix products; memory O(N (d + classes)).
    """
    gradients = _Gradients(_errors(candidates.logits), candidates.features)
    is_left = np.ones(len(candidates), bool)
    is_left[list(taken)] = False
    nearest = np.full(len(candidates), np.inf)
    chosen = [int(is_left.argmax())]
    waiting = chosen.copy()
    while len(chosen) < n:
        gradients.come_nearer(nearest, waiting)
        is_left[waiting] = False
        nearest[~is_left] = 0
        waiting = _drawn(
            gradients, nearest, candidates.seed, len(taken) + len(chosen), min(most_waiting, n - len(chosen))
        )
        if not waiting:
            waiting = [int(position) for position in np.flatnonzero(is_left)[: n - len(chosen)]]
        chosen += waiting
    return chosen


class _Gradients:
    """Squared distances between gradients, by their two factors."""

    def __init__(self, errors: Floats, features: Floats) -> None:
        self._errors, self._features = errors, features
        self._norms = squared_norms(errors).astype(np.float64) * squared_norms(features)

    def between(self, some: Sequence[int] | slice, others: Sequence[int]) -> NDArray[np.float64]:
        """`[some, others]`."""
        products = product(self._errors[some], self._errors[others]).astype(np.float64)
        products *= product(self._features[some], self._features[others])
        distances = self._norms[some][:, None] + self._norms[others] - 2 * products
        return np.maximum(distances, 0, out=distances)

    def come_nearer(self, nearest: NDArray[np.float64], others: Sequence[int]) -> None:
        """Take others into account in `nearest`, the distance of each sample to its nearest one."""
        for rows in blocks(len(nearest)):
            np.minimum(nearest[rows], self.between(rows, others).min(axis=1), out=nearest[rows])


def _drawn(gradients: _Gradients, nearest: NDArray[np.float64], seed: int, settled: int, most: int) -> list[int]:
    """The next samples, at most `most`; none if all are at distance 0."""
    sums = np.cumsum(nearest)
    drawn: list[int] = []
    rejections = 0
    while sums[-1] > 0 and len(drawn) < most and rejections < REJECTIONS:
        place, chance = draws(seed, settled, len(drawn), rejections)
        at = int(np.searchsorted(sums, place * sums[-1], side="right"))
        distance = min([nearest[at], *(gradients.between([at], drawn)[0] if drawn else ())])
        if at not in drawn and chance * nearest[at] < distance:
            drawn.append(at)
            rejections = 0
        else:
            rejections += 1
    return drawn


def draws(seed: int, settled: int, waiting: int, attempt: int) -> tuple[float, float]:
    """Two numbers from 0 up to, but not, 1."""
    digest = sha256(f"badge:{seed}:{settled}:{waiting}:{attempt}".encode()).digest()
    first, second = (int.from_bytes(part, "big") >> 11 for part in (digest[:8], digest[8:16]))
    return first / 2**53, second / 2**53


def _errors(logits: Floats) -> Floats:
    """Of each sample, p - onehot(argmax p), `[N, classes]`."""
    errors = np.exp(log_softmax(logits))
    errors[np.arange(len(errors)), logits.argmax(axis=1)] -= 1
    return errors.astype(np.float32)
