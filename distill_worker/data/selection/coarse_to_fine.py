"""Coarse to fine: the most typical sample of each of 8 clusters, then of 16, 32 and so on that have none yet."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from distill_worker.data.selection.candidates import Candidates
from distill_worker.data.selection.typical import typical

FIRST_STAGE: Final = 8
MOST_CANDIDATES: Final = 20_000
"""Among more candidates, it selects from the first ones, which are drawn at random."""
_CANDIDATES_EACH: Final = 10
"""At least as many candidates for each sample of a stage."""


def coarse_to_fine(candidates: Candidates, n: int, taken: Sequence[int] = ()) -> list[int]:
    """In stages of 8, 16, 32 samples and so on, each as `typical` selects it beside all earlier ones.

    Args:
        candidates: with features `[N, d]`.
        n: how many to choose.
        taken: positions that are chosen already, in their order.

    Returns:
        n positions, in the order of choice. Nested: the clusters depend on the stage, not on n.

    Source: Hacohen et al. 2022, arXiv 2202.02794, for one stage. *Departs*: in stages, so that n + 1 samples contain
    those of n, and the few samples of a small budget show the large clusters.
    Cost: that of `typical` in each stage, for min(N, max(20,000, 10 K)) candidates.
    """
    chosen: list[int] = []
    while len(chosen) < n:
        have = [*taken, *chosen]
        chosen += _rest_of_stage(candidates, have)
    return chosen[:n]


def _rest_of_stage(candidates: Candidates, have: Sequence[int]) -> list[int]:
    """What the stage adds in which the next sample after these is."""
    end = FIRST_STAGE
    while end <= len(have):
        end *= 2
    count = min(len(candidates), max(MOST_CANDIDATES, _CANDIDATES_EACH * end))
    among = replace(candidates, count=count, features=candidates.features[:count])
    more = min(end, len(candidates)) - len(have)
    return typical(among, more, [position for position in have if position < count])
