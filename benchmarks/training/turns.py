"""Subjects that take turns, so that a machine whose speed drifts gives honest ratios."""

import time
from collections.abc import Callable, Mapping, Sequence

Subject = Callable[[], float]
"""Works once, and returns the seconds of one unit of its work."""


def in_turns(subjects: Mapping[str, Subject], rounds: int) -> dict[str, list[float]]:
    """The seconds of every subject by name, one value a round, after a round of warm-up that is not counted.

    Every second round goes backwards: a steady drift then favours no subject.
    """
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for subject in subjects.values():
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
