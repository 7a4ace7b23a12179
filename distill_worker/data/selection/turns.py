"""Choosing from groups in turn."""

import heapq
from collections.abc import Sequence


def in_turns(groups: Sequence[Sequence[int]], n: int, taken: Sequence[int] = ()) -> list[int]:
    """So many positions, each the next of the group that has given fewest; of several such groups, the first.

    What is taken counts as given by its group. A group that has no more is passed over.

    Args:
        groups: positions in the order in which each group gives them, the groups in the order of their turns.
        n: at most how many are left.
        taken: positions that are chosen already.
    """
    known = set(taken)
    left = [iter([position for position in group if position not in known]) for group in groups]
    turns = [(sum(position in known for position in group), place) for place, group in enumerate(groups)]
    heapq.heapify(turns)
    chosen: list[int] = []
    while turns and len(chosen) < n:
        given, place = heapq.heappop(turns)
        if (position := next(left[place], None)) is not None:
            chosen.append(position)
            heapq.heappush(turns, (given + 1, place))
    return chosen
