"""Random: the next samples in hash order."""

from collections.abc import Sequence
from itertools import islice

from distill_worker.data.selection.candidates import Candidates


def random(candidates: Candidates, n: int, taken: Sequence[int] = ()) -> list[int]:
    """The n smallest of `SHA-256("random:<seed>:" + sample_key)` that are not taken.

    Args:
        candidates: only their order is used.
        n: how many to choose.
        taken: positions that are chosen already.

    Returns:
        n positions, in the order of choice; nested.

    Source: the ranking is ours, see docs/decisions/0001. Cost: O(N).
    """
    taken_positions = set(taken)
    return list(islice((position for position in range(len(candidates)) if position not in taken_positions), n))
