"""The test errors of one method at several sizes of the same purchase, and how much students differ by their seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np

from distill_worker.errors import CheckFailed, ConfigError
from distill_worker.experiments.forecast.power_law import PARAMETERS, Floats
from distill_worker.experiments.results.accuracies import methods_of, results_of
from shared.expectations import no_choice

LEAST_SIZES: Final = PARAMETERS + 1
"""As many as the curve has parameters determine it; one more shows whether it predicts."""
_LEAST_SEEDS: Final = 2
_FLOOR: Final = 0.001
"""What a mean error is uncertain by at least: a tenth of a point. A spread of zero over a few seeds is luck."""
_LEAST_UNIT: Final = 0.005
_TOLERATED_ERRORS: Final = 3.5
"""Standard errors that a mean error may rise by from one size to a larger one."""


@dataclass(frozen=True)
class MeasuredCurve:
    """The measured part of a learning curve, from the smallest size on.

    A student's deviation from the mean of its size is counted in shares of the mean error. In this unit the spread over
    seeds is much the same at all sizes, so all of them show it together, and the larger sizes count for more.
    """

    method: str
    sizes: tuple[int, ...]
    """Ascending: the samples that the students of each size learned from."""
    errors: Floats
    """`[seeds, sizes]`: shares of the test images."""

    @property
    def largest(self) -> int:
        """The largest size."""
        return self.sizes[-1]

    @property
    def seeds(self) -> int:
        """The students of each size."""
        return len(self.errors)

    @property
    def means(self) -> Floats:
        """The mean error of each size `[sizes]`."""
        means: Floats = self.errors.mean(axis=0)
        return means

    @property
    def deviations(self) -> Floats:
        """All deviations of a student from the mean of its size, in units; as large as without the fitted means."""
        units = (self.errors - self.means) / unit(self.means)
        return np.sort((units * np.sqrt(self.seeds / (self.seeds - 1))).ravel())

    @property
    def variances(self) -> Floats:
        """The variance of each mean error `[sizes]`."""
        variances: Floats = (self.deviations**2).mean() * unit(self.means) ** 2 / self.seeds + _FLOOR**2
        return variances

    def up_to(self, largest: int) -> "MeasuredCurve":
        """The part of the curve with the sizes up to this one."""
        kept = [column for column, size in enumerate(self.sizes) if size <= largest]
        return MeasuredCurve(self.method, tuple(self.sizes[column] for column in kept), self.errors[:, kept])

    def check(self) -> None:
        """Check that the curve can be extended.

        Raises:
            ConfigError: there are too few sizes or seeds; CheckFailed: the error rises with the size.
        """
        if len(self.sizes) < LEAST_SIZES:
            raise ConfigError(
                f"forecast: expected {self.method} at {LEAST_SIZES} sizes or more, got {len(self.sizes)} "
                f"({', '.join(map(str, self.sizes))}); add sizes to compare.n, or forecast from the file of a run"
            )
        if self.seeds < _LEAST_SEEDS:
            raise ConfigError(
                f"forecast: expected {_LEAST_SEEDS} seeds or more, whose spread shows how sure it is, got {self.seeds}"
            )
        self._check_falls()

    def _check_falls(self) -> None:
        """Check that the error does not rise from one size to a larger one. Raises `CheckFailed`."""
        means, variances = self.means, self.variances
        small, large = max(combinations(range(len(self.sizes)), 2), key=lambda pair: means[pair[1]] - means[pair[0]])
        explained = _TOLERATED_ERRORS * np.sqrt(variances[small] + variances[large])
        if means[large] - means[small] > explained:
            raise CheckFailed(
                f"forecast: not monotone: {self.method} has {1 - means[small]:.1%} with {self.sizes[small]} samples "
                f"and less with {self.sizes[large]}: {1 - means[large]:.1%}. The spread over seeds explains "
                f"{100 * explained:.1f} points of it at most. Look at the students of these sizes first: other "
                "settings, or more steps, may help"
            )


def unit(mean_error: Floats) -> Floats:
    """The unit of a student's deviation: the mean error, or half a point where it is less."""
    units: Floats = np.maximum(mean_error, _LEAST_UNIT)
    return units


def curve_of(facts: Mapping[str, Any], method: str | None = None, *, source: str) -> MeasuredCurve:
    """The curve of one method of a comparison.

    Args:
        facts: of `run_comparison`.
        method: the label of its row; it may be absent if there is one row.
        source: names the facts in errors.

    Raises:
        ConfigError: there is no such row, or it has not the same seeds at each size.
    """
    methods = methods_of(facts)
    if method is None and len(methods) > 1:
        raise ConfigError(f"--method: expected the label of a row of {source}: {', '.join(methods)}")
    if method is not None and method not in methods:
        raise ConfigError(f"--method: {no_choice(method, methods)}")
    label = methods[0] if method is None else method
    sizes = sorted({result["n"] for result in facts["results"] if result["method"] == label})
    accuracies = [[result["accuracy"] for result in results_of(facts, label, n)] for n in sizes]
    if len({len(of_size) for of_size in accuracies}) > 1:
        raise ConfigError(f"{source}: expected as many seeds of {label} at each size, got different numbers")
    return MeasuredCurve(label, tuple(sizes), 1 - np.array(accuracies, dtype=np.float64).T)
