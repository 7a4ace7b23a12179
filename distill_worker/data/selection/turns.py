"""Choosing from groups in turn."""

import heapq
from collections.abc import Sequence


def in_turns(groups: Sequence[Sequence[int]], n: int, taken: Sequence[int] = ()) -> list[int]:
    """At most n positions, each the next of the group with the fewest so far; of several such groups, the first.

    Taken positions count for their group. A group without any left is skipped.

    Args:
        groups: positions in the order in which each group gives them, the groups in the order of their turns.
        n: the number of positions; fewer are returned if fewer are left.
        taken: positions that are chosen already.
    """
    taken_positions = set(taken)
    left = [iter([position for position in group if position not in taken_positions]) for group in groups]
    turns = [(sum(position in taken_positions for position in group), place) for place, group in enumerate(groups)]
    heapq.heapify(turns)
    chosen: list[int] = []
    while turns and len(chosen) < n:
        given, place = heapq.heappop(turns)
        if (position := next(left[place], None)) is not None:
            chosen.append(position)
            heapq.heappush(turns, (given + 1, place))
    return chosen
