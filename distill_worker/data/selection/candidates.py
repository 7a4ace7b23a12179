"""What a strategy sees, and what it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Candidates:
    """Distinct samples in hash order, with what the strategy needs to know of them; the rest is empty.

    The order is that of `ranking.rank`. A strategy that breaks ties by position, and begins at the first, therefore
    depends neither on the order of the data set nor on a generator.
    """

    count: int
    seed: int
    labels: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """`[count]`, the classes."""
    features: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    """`[count, d]`, of which Euclidean distances are taken: pixels, or what goes into a network's last layer."""
    logits: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    """`[count, classes]`, the student's, unnormalised."""

    def __len__(self) -> int:
        return self.count


Need = Literal["labels", "features", "student"]
"""Labels of all candidates; features; or a student: its logits, and features of its own."""

Choose = Callable[[Candidates, int, Sequence[int]], list[int]]
"""So many further positions among the candidates, in the order of choice, and none of those that are taken."""


@dataclass(frozen=True)
class Strategy:
    """A strategy and what is to be known of it before it is used."""

    choose: Choose
    needs: tuple[Need, ...]
    nested: str
    """Whether n + 1 samples hold the n."""
    paper: str

    @property
    def needs_student(self) -> bool:
        """Whether it chooses with a student, and so in rounds."""
        return "student" in self.needs

    @property
    def is_computed(self) -> bool:
        """Whether its choice rests on sums of floats, whose last bits another machine may have otherwise."""
        return "student" in self.needs or "features" in self.needs
