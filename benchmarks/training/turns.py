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
    """A subject that takes `steps` steps and returns the seconds of one."""

    def take_steps() -> float:
        started = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - started) / steps

    return take_steps


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """The quotient of each round."""
    return [above / below for above, below in zip(numerators, denominators, strict=True)]
