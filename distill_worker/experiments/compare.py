"""Run a comparison: open the teacher, buy all outputs, train the students, collect the facts.

All outputs are planned as one purchase and bought before the first student is trained, so a comparison that the quota
cannot pay for fails at once.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from distill_worker.buying.order import PurchaseOrder
from distill_worker.buying.plan import Plan
from distill_worker.cache import Cache
from distill_worker.config.run_config import RunConfig
from distill_worker.data.datasets import load_dataset
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.experiments.comparison import Cell, Comparison
from distill_worker.experiments.display import SILENCE, Display
from distill_worker.experiments.engines import opened_engine
from distill_worker.experiments.engines.inputs import Inputs
from distill_worker.experiments.joint_purchase import (
    buy_jointly,
    description_if_cached,
    distinct_purchases,
    joint_orders,
    kinds_of_cells,
    selection_identity,
)
from distill_worker.experiments.local_teacher import quota_of, serving, train_teacher
from distill_worker.experiments.results.equivalent_calls import equivalents
from distill_worker.experiments.students import doubts, inputs_of, train_students
from distill_worker.runs import classes, preflight, purchase
from distill_worker.runs.resolution import note_of, resolved_alike, resolved_like
from distill_worker.runs.rounds import SelectedSamples
from distill_worker.runs.sampling.samples import Samples
from distill_worker.teachers.base import Quota, Teacher


def run_comparison(
    comparison: Comparison,
    *,
    fresh: bool = False,
    max_calls: int | None = None,
    on_plan: Callable[[Plan], bool] | None = None,
    display: Display = SILENCE,
) -> dict[str, Any]:
    """Run a comparison; its facts, JSON-able, among them `calls_paid`, `results`, `equivalent_calls`, `seconds`.

    Args:
        comparison: what to compare.
        fresh: train every student again; its earlier run is moved aside.
        max_calls: the most samples to buy now.
        on_plan: gets the plan of the whole purchase before anything is spent; see `purchase.buy`. By default, the
            quota must suffice.
        display: shows the progress.

    Raises:
        PlanRefused: `max_calls` left some outputs for later; nothing was trained.
        WorkerError: see `preflight.check_sales` and `purchase.buy`.
    """
    started = time.perf_counter()
    comparison = _resolved(comparison, fresh=fresh)
    compare, cells = comparison.compare, comparison.cells
    base = cells[0].config
    for line in _each_once(note_of(cell.config.training) for cell in cells):
        display.note(line)
    runs = _runs_of(cells, fresh=fresh)
    for run in runs:
        preflight.check_run(run)
    with opened_engine(compare, base.training, display.note) as engine:
        for config in {cell.config.networks: cell.config for cell in cells}.values():
            engine.check(config)
        lessons = _bought(comparison, runs, display, on_plan=on_plan or within_quota, max_calls=max_calls)
        results = train_students(
            cells, lessons.inputs, engine, directory=compare.directory, fresh=fresh, display=display
        )
    facts = {
        "data": base.data.name,
        "student": ", ".join(_each_once(cell.config.student.network for cell in cells)),
        "track": ", ".join(_each_once(cell.config.data_used for cell in cells)),
        "n": list(compare.n),
        "seeds": compare.seeds,
        "baseline": compare.baseline,
        "reference": compare.reference,
        "reference_n": compare.curve_sizes,
        "precision": ", ".join(_each_once(cell.config.training.precision for cell in cells)),
        **lessons.facts,
        "results": results,
        "seconds": round(time.perf_counter() - started, 1),
    }
    return facts | {"equivalent_calls": [] if compare.reference is None else equivalents(facts)}


class _Bought(NamedTuple):
    inputs: list[Inputs]
    """What the student of each cell learns from."""
    facts: dict[str, Any]
    """`teacher`, `calls_paid`, `cache_hits`, `quota`."""


def _bought(
    comparison: Comparison,
    all_runs: Sequence[preflight.Run],
    display: Display,
    *,
    on_plan: Callable[[Plan], bool],
    max_calls: int | None,
) -> _Bought:
    """Buy the outputs that the cache lacks, and load what each student learns from."""
    compare, cells = comparison.compare, comparison.cells
    configs = [cell.config for cell in distinct_purchases(cells)]
    runs = [run for config in configs for run in all_runs if run.config is config]
    teacher_facts: dict[str, Any] = {}
    with Cache(cells[0].config.output.cache) as cache:
        description = None if compare.teacher is not None else description_if_cached(runs, cache)
        if not runs:
            preflight.check_lessons(preflight.Lesson(run, {}, None) for run in all_runs)
            calls: dict[str, Any] = {"calls_paid": 0, "cache_hits": 0, "quota": None}
        elif description is not None:
            preflight.check_sales(all_runs, description, cache)
            wanted = len({key for run in runs for key in run.samples.wanted})
            display.note(f"all {wanted} wanted outputs are cached; no request was sent")
            calls = {"calls_paid": 0, "cache_hits": wanted, "quota": None}
        else:
            with _teacher(comparison, runs, display) as (client, teacher_facts):
                description = client.describe()
                preflight.check_sales(all_runs, description, cache)
                orders = joint_orders(runs, client, description, cache, max_calls=max_calls)
                calls = _buy(comparison, runs, client, orders, on_plan, display)
        teacher_id = None if description is None else description.id
        kinds = kinds_of_cells(cells, runs, description, cache)
        inputs = inputs_of(all_runs, kinds, teacher_id, cache)
    noted = (runs or all_runs)[0]
    class_names = None if description is None else description.class_names
    for line in (*classes.notes(noted.config, noted.samples.dataset, class_names), *doubts(all_runs, inputs)):
        display.note(line)
    teacher = {"id": teacher_id, "outputs": sorted(set(chain(*kinds))), **teacher_facts}
    return _Bought(inputs, {"teacher": teacher, **calls})


@contextmanager
def _teacher(
    comparison: Comparison, runs: Sequence[preflight.Run], display: Display
) -> Iterator[tuple[Teacher, dict[str, Any]]]:
    compare = comparison.compare
    if compare.teacher is None:
        with purchase.connect(comparison.cells[0].config, display.note) as (client, _):
            yield client, {}
        return
    teacher_run = resolved_like(comparison.teacher_run(compare.teacher), comparison.cells[0].config)
    teacher = train_teacher(teacher_run, display)
    quota = compare.quota
    if quota is None:
        quota = len({key for run in runs for key in run.samples.wanted})
    features = any(len(run.config.teacher_kinds) > 1 for run in runs)
    with serving(teacher, compare.directory, quota=quota, features=features, display=display) as client:
        quota_of(client)
        yield client, teacher.facts()


def _buy(
    comparison: Comparison,
    runs: Sequence[preflight.Run],
    client: Teacher,
    orders: Sequence[PurchaseOrder],
    on_plan: Callable[[Plan], bool],
    display: Display,
) -> dict[str, Any]:
    """Buy what is missing; the facts `calls_paid`, `cache_hits` and `quota`."""
    before, cache_hits = client.quota(), 0
    if orders:
        images = runs[0].samples.images_by_key()
        client.use_files(runs[0].samples.files_by_key())
        # The description of the own teacher must not be taken for that of the teacher at the configured address.
        address = comparison.cells[0].config.resolved_teacher if comparison.compare.teacher is None else None
        samples, kinds = [run.samples for run in runs], [kind for order in orders for kind in order.kinds]
        config, first = _labelled(runs), orders[0]
        cache_hits = buy_jointly(
            orders,
            images,
            address=address,
            on_plan=on_plan,
            on_answer=classes.judge(config, samples, first.description, first.cache, kinds),
            display=display,
        ).cached
    after = client.quota()
    return {
        "calls_paid": after.used - before.used if before and after else None,
        "cache_hits": cache_hits,
        "quota": _quota_facts(after),
    }


def within_quota(plan: Plan) -> bool:
    """Check the plan of a purchase that needs no agreement; its price is no limit. Raises `PlanRefused`."""
    preflight.check_plan(plan)
    return False


def _resolved(comparison: Comparison, *, fresh: bool) -> Comparison:
    """The comparison with all cells in one precision. They may train on machines of several types."""
    configs = resolved_alike([cell.config for cell in comparison.cells], fresh=fresh)
    return comparison.with_cells(
        [cell.with_config(config) for cell, config in zip(comparison.cells, configs, strict=True)]
    )


def _runs_of(cells: Sequence[Cell], *, fresh: bool) -> list[preflight.Run]:
    """The run of each cell. Cells that select the same samples share them."""
    selections: dict[str, SelectedSamples] = {}

    def select(config: RunConfig) -> SelectedSamples:
        identity = selection_identity(config)
        if identity not in selections:
            selections[identity] = SelectedSamples(_samples(config), rounds=1, later=0, teacher_id=None)
        return selections[identity]

    return [
        preflight.Run(cell.config, partial(select, cell.config), trains=True, fresh=fresh, title=cell.title)
        for cell in cells
    ]


def _samples(config: RunConfig) -> Samples:
    data = config.data
    return Samples.among(_dataset(data.name, data.root, data.path, data.image_size), config)


@lru_cache(maxsize=1)
def _dataset(name: str, root: Path, path: Path | None, image_size: tuple[int, int] | None) -> Dataset:
    return load_dataset(name, root, path=path, image_size=image_size)


def _labelled(runs: Sequence[preflight.Run]) -> RunConfig:
    """A run whose track has labels, with which the teacher must agree; if there is none, any run."""
    return next((run.config for run in runs if run.config.track != "unlabelled-pool"), runs[0].config)


def _each_once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _quota_facts(quota: Quota | None) -> dict[str, int] | None:
    return None if quota is None else {"limit": quota.limit, "used": quota.used, "remaining": quota.remaining}
