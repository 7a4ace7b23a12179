"""A part of the benchmark: what it measures, how long that takes, and its figures."""

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.figures import Figure, figure, misses_target

SUITE = "training"


@dataclass(frozen=True)
class Part:
    """One part; its name is also that of its table in `docs/results/training-speed.md`."""

    name: str
    does: str
    seconds: int
    """How long it takes with its own number of rounds, on two idle cores."""
    rounds: int
    figures: Callable[[int], Iterator[Figure]]
    """Called with the number of rounds; names are without the part's."""

    def measured(self, rounds: int) -> list[Figure]:
        """Say what follows, and measure it."""
        seconds = round(self.seconds * rounds / self.rounds)
        print(f"\n{self.name}: {self.does}; {rounds} rounds, about {seconds} s", flush=True)
        return [{**measured, "name": self.named(measured["name"])} for measured in self.figures(rounds)]

    def named(self, figure_name: str) -> str:
        """The name under which a figure of this part is recorded."""
        return f"{self.name}_{figure_name}"


def measure_each(parts: Iterable[Part], rounds: int | None, take: Callable[[Figure], None]) -> list[str]:
    """Measure one part after another. One that fails takes none of the others' figures along.

    Args:
        parts: in their order.
        rounds: of each part; None for the part's own.
        take: called with every figure of a part, after the whole part was measured.

    Returns:
        The names of the parts that failed; their tracebacks are on standard error.
    """
    failed = []
    for part in parts:
        try:
            for measured in part.measured(rounds or part.rounds):
                take(measured)
        except Exception:  # the edge of a part
            traceback.print_exc()
            failed.append(part.name)
    return failed


def ratio(
    name: str, values: Sequence[float], *, target: float | None = None, better: Literal["higher", "lower"] = "higher"
) -> Figure:
    """The figure of ratios, one value a round."""
    return figure(SUITE, name, values, unit="ratio", better=better, target=target)


def milliseconds(name: str, seconds: Sequence[float]) -> Figure:
    """The figure of times, for information: only ratios have targets."""
    return figure(SUITE, name, [1000 * value for value in seconds], unit="ms", better="lower")


def line(figure: Figure) -> str:
    """One figure with its spread, its target and whether it meets it."""
    verdict = "" if figure["target"] is None else "MISSED" if misses_target(figure) else "met"
    sign = ">=" if figure["better"] == "higher" else "<="
    target = "" if figure["target"] is None else f"{sign} {figure['target']:g}"
    spread = f"({figure['min']:g}..{figure['max']:g})"
    return f"{figure['name']:50}{figure['value']:>9g} {figure['unit']:6}{spread:22}{target:9}{verdict}".rstrip()
