"""The interface of all strategies: the candidates, and a strategy with its properties."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

PIXELS: Final = "pixels"
GRADIENTS: Final = "gradients"
STUDENT: Final = "student"
"""Features that are in no weights file: pixels, their gradients, and those of the student of the round before."""


@dataclass(frozen=True)
class Candidates:
    """Distinct samples in hash order, with the data that the strategy needs; the other fields are empty.

    The order is that of `ranking.rank`. A strategy that breaks ties by position, and begins at the first, therefore
    depends neither on the order of the data set nor on a generator.
    """

    count: int
    seed: int
    labels: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """`[count]`, the classes."""
    features: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    """`[count, d]`, for Euclidean distances: see `features`."""
    logits: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    """`[count, classes]`, the student's, unnormalised."""

    def __len__(self) -> int:
        return self.count


Need = Literal["labels", "features", "student"]
"""Labels of all candidates; features; or a student: its logits, and features of its own."""

Choose = Callable[[Candidates, int, Sequence[int]], list[int]]
"""From the candidates, n and the taken positions: the next n positions, in the order of selection."""


@dataclass(frozen=True)
class Strategy:
    """A strategy and its properties."""

    choose: Choose
    needs: tuple[Need, ...]
    nested: str
    """Whether the selection of n + 1 samples contains that of n."""
    paper: str

    @property
    def needs_student(self) -> bool:
        """Whether it selects with a student, and so in rounds."""
        return "student" in self.needs

    @property
    def is_computed(self) -> bool:
        """Whether its selection depends on sums of floats, whose last bits may differ on another machine."""
        return "student" in self.needs or "features" in self.needs
