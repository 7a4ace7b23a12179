"""Subjects that take turns, so that a machine whose speed drifts gives honest ratios."""

import time
from collections.abc import Callable, Mapping, Sequence

Subject = Callable[[], float]
"""Works once, and returns the seconds of one unit of its work."""


def in_turns(subjects: Mapping[str, Subject], rounds: int, *, warm_up: bool = True) -> dict[str, list[float]]:
    """The seconds of every subject by name, one value a round. A steady drift favours no subject: rounds alternate.

    Args:
        subjects: by name; every second round takes them backwards.
        rounds: that are counted.
        warm_up: whether a round goes before that is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for subject in subjects.values() if warm_up else ():
        subject()
    for number in range(rounds):
        names = list(subjects)
        for name in names if number % 2 == 0 else reversed(names):
            seconds[name].append(subjects[name]())
    return seconds


def per_step(step: Callable[[], object], steps: int) -> Subject:
    """A subject that takes `steps` steps, timed from the end of one that goes before."""

    def take_steps() -> float:
        ended = []
        for _ in range(steps + 1):
            step()
            ended.append(time.perf_counter())
        return mean_interval(ended)

    return take_steps


def mean_interval(ended: Sequence[float]) -> float:
    """Seconds of a step from the ends of several; what comes before the first end does not count."""
    return (ended[-1] - ended[0]) / (len(ended) - 1)


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """The quotient of each round."""
    return [above / below for above, below in zip(numerators, denominators, strict=True)]
