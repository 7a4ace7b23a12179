"""The analyses of all students of a comparison, and tests over their seeds.

Each student's facts are in its own run directory, so a killed analysis goes on with the students that have none.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from distill_worker.errors import RunError, counted
from distill_worker.experiments.analyses.analyse import analyse, stored_facts
from distill_worker.experiments.analyses.finished_run import finished_run
from distill_worker.experiments.analyses.outputs import outputs_of_teacher
from distill_worker.experiments.analyses.sharpness import rise
from distill_worker.experiments.comparison.cells import Cell, Comparison
from distill_worker.experiments.comparison.students import runs_of
from distill_worker.experiments.display import SILENCE, Display
from distill_worker.experiments.results.accuracies import methods_of, results_of
from distill_worker.experiments.results.paired_tests import Paired, against_baseline, mean_and_deviation
from distill_worker.experiments.results.table import Rows, paired_cell
from distill_worker.training.directory.run_directory import RunDirectory
from distill_worker.training.finished.student import FinishedStudent, load_student


class _Figure(NamedTuple):
    """A figure of a student."""

    heading: str
    of: Callable[[Mapping[str, Any]], float | None]
    """How it follows from the facts of `analyse`."""
    decimals: int = 2


_FIGURES: Final[Mapping[str, _Figure]] = {
    "accuracy": _Figure("accuracy %", lambda facts: 100 * facts["test"]["accuracy"]),
    "ece": _Figure("ECE %", lambda facts: 100 * facts["calibration"]["ece"]),
    "feature_rank": _Figure("rank of features", lambda facts: facts["effective_rank"]["features"]),
    "logit_rank": _Figure("rank of logits", lambda facts: facts["effective_rank"]["logits"]),
    "class_agreement": _Figure(
        "agreement on classes", lambda facts: (facts["class_correlation"] or {}).get("agreement"), decimals=3
    ),
    "sharpness": _Figure("sharpness", lambda facts: rise(facts["sharpness"]), decimals=3),
}
_RANKS: Final = {"feature_rank": "features", "logit_rank": "logits"}
"""The figures that are tested against the baseline."""


def analyse_students(
    comparison: Comparison,
    teacher: FinishedStudent | None = None,
    *,
    trust_code: bool = False,
    display: Display = SILENCE,
) -> dict[str, Any]:
    """Analyse each finished student of a comparison that has no `analysis.json` yet.

    Args:
        comparison: its students may be finished in part.
        teacher: see `analyse`; students that were analysed without it are analysed again.
        trust_code: see `load_student`.
        display: shows the progress, and how many students are not finished.

    Returns:
        JSON-able: `n`, `baseline`, `students` (that are in the comparison), and `results`: `method`, `n`, `seed` and
        the figures of each finished student.

    Raises:
        RunError: no student is finished.
        WorkerError: as `analyse` and `finished_run`.
    """
    cells = [cell for cell in comparison.cells if RunDirectory(cell.config.output.directory).result() is not None]
    if not cells:
        raise RunError(
            f"{comparison.compare.directory}: expected finished students of the comparison, got none; train them: "
            "distill-worker compare"
        )
    if missing := len(comparison.cells) - len(cells):
        display.note(f"{counted(missing, 'student')} of {len(comparison.cells)} not finished, and left out")
    results, of_teacher = [], None
    with display.progress_bar("analysing", len(cells)) as move:
        for done, (cell, run) in enumerate(zip(cells, runs_of(cells, fresh=False), strict=True)):
            move(done, cell.title)
            student = load_student(cell.config.output.directory, trust_code=trust_code)
            facts = stored_facts(student, teacher)
            if facts is None:
                finished = finished_run(cell.config, student, samples=run.samples)
                if teacher is not None and of_teacher is None:  # once: all rows have the same test images
                    of_teacher = outputs_of_teacher(teacher, finished.dataset, finished.device)
                facts = analyse(finished, teacher, of_teacher=of_teacher)
            results.append(_result(cell, facts))
        move(len(cells), "")
    return {
        "n": list(dict.fromkeys(cell.n for cell in cells)),
        "baseline": comparison.compare.baseline,
        "students": len(comparison.cells),
        "results": results,
    }


def figure_rows(facts: Mapping[str, Any]) -> tuple[tuple[str, ...], Rows]:
    """The heading, and one row for each method and n: mean and deviation of each figure over the seeds."""
    heading = ("method", "n", "seeds", *(figure.heading for figure in _FIGURES.values()))
    rows: Rows = []
    for n in facts["n"]:
        for method in methods_of(facts):
            if results := results_of(facts, method, n):
                cells = [_cell([result[name] for result in results], one.decimals) for name, one in _FIGURES.items()]
                rows.append((method, str(n), str(len(results)), *cells))
    return heading, rows


def rank_rows(facts: Mapping[str, Any]) -> tuple[tuple[str, ...], Rows]:
    """The heading, and one row for each method and n: the paired tests of its effective ranks against the baseline."""
    baseline = facts["baseline"]
    heading = (
        f"rank against {baseline}",
        "n",
        *(f"{name}: difference [95 % interval] (seeds won) p, Holm's p" for name in _RANKS.values()),
    )
    tests = {(n, figure): rank_tests(facts, n, figure) for n in facts["n"] for figure in _RANKS}
    return heading, [
        (method, str(n), *(paired_cell(tests[n, figure].get(method)) for figure in _RANKS))
        for n in facts["n"]
        for method in methods_of(facts)
        if method != baseline and results_of(facts, method, n)
    ]


def rank_tests(facts: Mapping[str, Any], n: int, figure: str) -> dict[str, Paired]:
    """The paired tests of a figure of every method that has the seeds of the baseline, at one n."""
    baseline = facts["baseline"]
    seeds = [result["seed"] for result in results_of(facts, baseline, n)]
    if not seeds:
        return {}
    results = {method: results_of(facts, method, n) for method in methods_of(facts)}
    values = {
        method: [result[figure] for result in of_method]
        for method, of_method in results.items()
        if [result["seed"] for result in of_method] == seeds
    }
    return against_baseline(values, baseline)


def _result(cell: Cell, facts: Mapping[str, Any]) -> dict[str, Any]:
    figures = {name: figure.of(facts) for name, figure in _FIGURES.items()}
    return {"method": cell.label, "n": cell.n, "seed": cell.seed, **figures}


def _cell(values: Sequence[float | None], decimals: int) -> str:
    """Mean and standard deviation; a dash where a student has no such figure."""
    stated = [value for value in values if value is not None]
    if len(stated) < len(values):
        return "-"
    mean, deviation = mean_and_deviation(stated)
    return f"{mean:.{decimals}f}" + ("" if deviation is None else f" ± {deviation:.{decimals}f}")
