"""Class-balanced: equally many samples of each class, as long as the class has more."""

from collections.abc import Sequence

from distill_worker.data.selection.candidates import Candidates
from distill_worker.data.selection.turns import in_turns


def class_balanced(candidates: Candidates, n: int, taken: Sequence[int] = ()) -> list[int]:
    """The classes in turn, each giving its next sample in hash order; a class without any left is skipped.

    The classes' turns are in the order in which they first appear in hash order, so none is favoured by its number.

    Args:
        candidates: with labels `[N]`.
        n: how many to choose.
        taken: positions that are chosen already; they count for their classes.

    Returns:
        n positions, in the order of choice; nested.

    Source: the usual practice of few-label learning; it needs labels of samples that are not bought. Cost: O(N).
    """
    classes: dict[int, list[int]] = {}
    for position, label in enumerate(candidates.labels.tolist()):
        classes.setdefault(label, []).append(position)
    return in_turns(list(classes.values()), n, taken)
