"""The students that a forecast needs: a run's method on nested parts of what the run has bought.

No call is spent: every output is in the cache before the first student is trained. A part of n samples holds those that
a smaller `budget.n` would have selected, so the parts are nested as purchases of growing size are.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from distill_worker.cache import Cache
from distill_worker.config.load import OnNote, parse_config, read_document, with_notes
from distill_worker.config.run_config import RunConfig
from distill_worker.config.stages.automatic import AUTO, hint_for_one_round
from distill_worker.data.selection import STRATEGIES
from distill_worker.errors import CacheError, ConfigError
from distill_worker.experiments.comparison.cells import Comparison
from distill_worker.experiments.comparison.compare import run_comparison
from distill_worker.experiments.comparison.compare_section import Compare, ComparedMethod
from distill_worker.experiments.comparison.joint_purchase import description_if_cached, distinct_purchases
from distill_worker.experiments.comparison.students import runs_of
from distill_worker.experiments.display import SILENCE, Display
from distill_worker.experiments.forecast.measured_curve import MeasuredCurve, curve_of
from distill_worker.methods import method_name
from distill_worker.runs.preflight import Run
from distill_worker.runs.purchase import Source

_PARTS: Final = (8, 4, 2, 1)
_LEAST_N: Final = 2 * _PARTS[0]
FOLDER: Final = "forecast"
"""The students' folder in the run directory."""


class Measured(NamedTuple):
    """What the students of a run's parts show."""

    curve: MeasuredCurve
    pool: int
    """The samples that the data set has to buy."""


class NestedSizes:
    """The students of a run on 1/8, 1/4, 1/2 and all of its samples; they resume after a kill."""

    def __init__(self, path: Path, overrides: Sequence[str] = (), *, seeds: int, on_note: OnNote = print) -> None:
        """Read the file of a run.

        Args:
            path: the file.
            overrides: as of `load_config`, as is `on_note`.
            seeds: the students of each size.
            on_note: see `load_config`.

        Raises:
            ConfigError: as `load_config`; or the run has no nested parts, or too few samples.
        """
        document, notes = read_document(path, overrides)
        self.path = path
        self.config = with_notes(notes, parse_config(document, source=str(path)), on_note)
        self.comparison = _comparison(document, self.config, seeds, source=str(path))

    def measured(self, *, fresh: bool = False, display: Display = SILENCE) -> Measured:
        """Train the students that are not trained yet.

        Raises:
            CacheError: some outputs are not bought; WorkerError: see `run_comparison` and `curve_of`.
        """
        cells = self.comparison.cells
        runs = {id(run.config): run for run in runs_of(cells, fresh=fresh)}
        self._check_bought([runs[id(cell.config)] for cell in distinct_purchases(cells)])
        facts = run_comparison(self.comparison, fresh=fresh, display=display)
        candidates = len(runs[id(cells[-1].config)].samples.candidates)
        pool = int(candidates * (1 - self.config.training.validated_share))
        return Measured(curve_of(facts, source=str(self.path)), pool)

    def _check_bought(self, runs: Sequence[Run]) -> None:
        """Check that no purchase is left to make. Raises `CacheError`."""
        if not runs:
            return
        with Cache(self.config.output.cache, if_absent="error") as cache:
            if description_if_cached(runs, cache) is None:
                source = Source.of(self.config.resolved_teacher).described(None)
                raise CacheError(
                    f"forecast: expected all {self.config.budget.n} outputs of the teacher {source}, in "
                    f"{cache.place}, but some are missing; nothing was spent. Buy them: distill-worker fetch "
                    f"{self.path}; or lower budget.n to what is bought. If they are bought, set TEACHER_URL and "
                    "TEACHER_API_KEY as they were then"
                )


def _comparison(document: dict[str, Any], config: RunConfig, seeds: int, *, source: str) -> Comparison:
    method = document.get("method", AUTO)
    compare = Compare(
        directory=config.output.directory / FOLDER,
        n=_sizes(config, source),
        seeds=seeds,
        cache=config.output.cache,
        tensorboard=config.output.tensorboard,
        methods=(
            ComparedMethod(
                label=AUTO if config.chosen_by_auto else " + ".join(map(method_name, config.methods)),
                method=method if isinstance(method, dict) else {"name": method},
                plus=document.get("plus", ()),
            ),
        ),
    )
    base = {name: section for name, section in document.items() if name not in ("method", "plus", "output")}
    comparison = Comparison(compare, base, source)
    return comparison.with_cells(
        [
            cell.with_config(_of_same_purchase(cell.config, config)).with_other_caches(config.output.other_caches)
            for cell in comparison.cells
        ]
    )


def _of_same_purchase(part: RunConfig, whole: RunConfig) -> RunConfig:
    """The run of a part, with the seed of the whole run's samples."""
    return part.model_copy(update={"budget": part.budget.model_copy(update={"seed": whole.budget.seed})})


def _sizes(config: RunConfig, source: str) -> tuple[int, ...]:
    budget = config.budget
    if budget.n is None or budget.n < _LEAST_N:
        raise ConfigError(f"{source}: budget.n: expected at least {_LEAST_N} samples for a forecast, got {budget.n}")
    if budget.rounds > 1:
        raise ConfigError(
            f"{source}: budget.rounds: expected 1 for a forecast, whose smaller parts are selected without a student, "
            f"got {budget.rounds}{hint_for_one_round(config.chosen_by_auto)}"
        )
    if STRATEGIES[budget.strategy].nested != "yes":
        raise ConfigError(
            f"{source}: budget.strategy: expected one whose smaller parts are in the larger ones, such as random or "
            f"coarse-to-fine, got {budget.strategy}"
        )
    return tuple(budget.n // part for part in _PARTS)
