"""Run a comparison: open the teacher, buy all outputs, train the students, collect the facts.

All outputs are planned as one purchase and bought before the first student is trained, so a comparison that the quota
cannot pay for fails at once. Rows that select in rounds buy their first round then; each later round is one more
purchase for all rows together, after the students that select it are trained.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from distill_worker.buying.plan import Plan
from distill_worker.config.run_config import RunConfig
from distill_worker.experiments.comparison.cells import Cell, Comparison
from distill_worker.experiments.comparison.lessons import lessons_of
from distill_worker.experiments.comparison.students import runs_of, train_students
from distill_worker.experiments.display import SILENCE, Display
from distill_worker.experiments.engines import opened_engine
from distill_worker.experiments.failure_signs.of_comparison import signs_of_comparison
from distill_worker.experiments.results.equivalent_calls import equivalents
from distill_worker.methods import method_name
from distill_worker.runs import preflight
from distill_worker.runs.resolution import note_of, resolved_alike


def run_comparison(
    comparison: Comparison,
    *,
    fresh: bool = False,
    max_calls: int | None = None,
    on_plan: Callable[[Plan], bool] | None = None,
    display: Display = SILENCE,
) -> dict[str, Any]:
    """Run a comparison; its facts, JSON-able, among them `calls_paid`, `results`, `equivalent_calls`, `warnings`.

    Args:
        comparison: what to compare.
        fresh: train every student again; its earlier run is moved aside.
        max_calls: the most samples to buy now.
        on_plan: gets the plan of the whole purchase before anything is spent, and of each later round's; see
            `purchase.buy`. By default, the quota must suffice.
        display: shows the progress.

    Raises:
        PlanRefused: `max_calls` left some outputs for later; nothing was trained on this round's.
        WorkerError: see `preflight.check_sales` and `purchase.buy`.
    """
    started = time.perf_counter()
    comparison = resolved_comparison(comparison, fresh=fresh)
    compare, cells = comparison.compare, comparison.cells
    base = cells[0].config
    for line in each_once(note_of(cell.config.training) for cell in cells):
        display.note(line)
    runs = runs_of(cells, fresh=fresh)
    for run in runs:
        preflight.check_run(run)
    with opened_engine(compare, base.training, display.note) as engine:
        for config in configs_to_check(cells):
            engine.check(config)
        train = partial(train_students, engine=engine, directory=compare.directory, fresh=fresh, display=display)
        lessons = lessons_of(
            comparison, runs, train, display=display, on_plan=on_plan or within_quota, max_calls=max_calls
        )
        results = train(cells, lessons.inputs)
    return facts_of(
        comparison,
        {**lessons.facts, "results": results, "seconds": round(time.perf_counter() - started, 1)},
    )


def facts_of(comparison: Comparison, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a comparison that is resolved, JSON-able.

    Args:
        comparison: what was compared.
        outcome: the facts of its purchase, `results` and `seconds`.
    """
    facts = {**compared_facts(comparison), **outcome}
    facts |= {"equivalent_calls": [] if comparison.compare.reference is None else equivalents(facts)}
    return facts | {"warnings": signs_of_comparison(facts)}


def compared_facts(comparison: Comparison) -> dict[str, Any]:
    """What a resolved comparison compares, JSON-able: the facts that are there before it is run."""
    compare, cells = comparison.compare, comparison.cells
    return {
        "data": cells[0].config.data.name,
        "student": ", ".join(each_once(cell.config.student.network for cell in cells)),
        "track": ", ".join(each_once(cell.config.data_used for cell in cells)),
        "n": list(compare.n),
        "seeds": compare.seeds,
        "same_samples": compare.same_samples,
        "baseline": compare.baseline,
        "single_sample_kd": each_once(cell.label for cell in cells if _is_single_sample_kd(cell.config)),
        "reference": compare.reference,
        "reference_n": compare.curve_sizes,
        "precision": ", ".join(each_once(cell.config.training.precision for cell in cells)),
    }


def _is_single_sample_kd(config: RunConfig) -> bool:
    """Whether a run compares single samples with their teacher's outputs by KD, and does nothing else."""
    return [method_name(method) for method in config.methods] == ["kd"] and config.self_training is None


def within_quota(plan: Plan) -> bool:
    """Check the plan of a purchase that needs no agreement; its price is no limit. Raises `PlanRefused`."""
    preflight.check_plan(plan)
    return False


def configs_to_check(cells: Sequence[Cell]) -> list[RunConfig]:
    """One configuration for each set of networks and weights files that the machines of an engine must have."""
    configs = [cell.config for cell in cells]
    return list({(one.networks, one.assistant, one.student.weights): one for one in configs}.values())


def resolved_comparison(comparison: Comparison, *, fresh: bool) -> Comparison:
    """The comparison with all cells in one precision. They may train on machines of several types."""
    configs = resolved_alike([cell.config for cell in comparison.cells], fresh=fresh)
    return comparison.with_cells(
        [cell.with_config(config) for cell, config in zip(comparison.cells, configs, strict=True)]
    )


def each_once(texts: Iterable[str]) -> list[str]:
    """The different texts, in their order."""
    return list(dict.fromkeys(texts))
