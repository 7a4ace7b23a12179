"""Run a comparison: open the teacher, buy all outputs, train the students, collect the facts.

All outputs are planned as one purchase and bought before the first student is trained, so a comparison that the quota
cannot pay for fails at once.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import chain
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from distill_worker.buying.order import PurchaseOrder
from distill_worker.buying.plan import Plan
from distill_worker.cache import Cache
from distill_worker.config.run_config import RunConfig
from distill_worker.data.datasets import Dataset, load_dataset
from distill_worker.experiments.comparison import Cell, Comparison
from distill_worker.experiments.display import SILENCE, Display
from distill_worker.experiments.joint_purchase import (
    buy_jointly,
    description_if_cached,
    distinct_purchases,
    joint_orders,
    kinds_of_cells,
    selection_identity,
)
from distill_worker.experiments.local_teacher import quota_of, serving, train_teacher
from distill_worker.runs import classes, preflight, purchase
from distill_worker.runs.resolution import resolved_alike
from distill_worker.runs.rounds import SelectedSamples
from distill_worker.runs.samples import Samples
from distill_worker.runs.targets import load_bought
from distill_worker.runs.train_student import train_student
from distill_worker.teachers.base import Quota, Teacher


def run_comparison(
    comparison: Comparison,
    *,
    fresh: bool = False,
    max_calls: int | None = None,
    on_plan: Callable[[Plan], bool] | None = None,
    display: Display = SILENCE,
) -> dict[str, Any]:
    """Run a comparison; its facts: `teacher`, `calls_paid`, `cache_hits`, `quota`, `results`, `seconds`.

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
    compare = comparison.compare
    cells = _resolved(comparison.cells, fresh=fresh)
    all_runs = _runs_of(cells, fresh=fresh)
    for run in all_runs:
        preflight.check_run(run)
    configs = [cell.config for cell in distinct_purchases(cells)]
    runs = [run for config in configs for run in all_runs if run.config is config]
    base = cells[0].config
    with Cache(base.output.cache) as cache:
        description = None if compare.teacher is not None else description_if_cached(runs, cache)
        teacher_facts: dict[str, Any] = {}
        if not runs:
            preflight.check_lessons(preflight.Lesson(run, {}, None) for run in all_runs)
            bought: dict[str, Any] = {"calls_paid": 0, "cache_hits": 0, "quota": None}
        elif description is not None:
            preflight.check_sales(all_runs, description, cache)
            wanted = len({key for run in runs for key in run.samples.wanted})
            display.note(f"all {wanted} wanted outputs are cached; no request was sent")
            bought = {"calls_paid": 0, "cache_hits": wanted, "quota": None}
        else:
            with _teacher(comparison, runs, display) as (client, teacher_facts):
                description = client.describe()
                preflight.check_sales(all_runs, description, cache)
                orders = joint_orders(runs, client, description, cache, max_calls=max_calls)
                bought = _buy(comparison, runs, client, orders, on_plan or within_quota, display)
        kinds = kinds_of_cells(cells, runs, description, cache)
        noted = (runs or all_runs)[0]
        class_names = None if description is None else description.class_names
        for line in classes.notes(noted.config, noted.samples.dataset, class_names):
            display.note(line)
    teacher_id = None if description is None else description.id
    results = _train_all(cells, teacher_id, kinds, jobs=compare.jobs, fresh=fresh, display=display)
    return {
        "data": base.data.name,
        "student": base.student.network,
        "track": base.track,
        "n": list(compare.n),
        "seeds": compare.seeds,
        "baseline": compare.baseline,
        "teacher": {"id": teacher_id, "outputs": sorted(set(chain(*kinds))), **teacher_facts},
        **bought,
        "results": results,
        "seconds": round(time.perf_counter() - started, 1),
    }


@contextmanager
def _teacher(
    comparison: Comparison, runs: Sequence[preflight.Run], display: Display
) -> Iterator[tuple[Teacher, dict[str, Any]]]:
    compare = comparison.compare
    if compare.teacher is None:
        with purchase.connect(comparison.cells[0].config, display.note) as (client, _):
            yield client, {}
        return
    teacher = train_teacher(comparison.teacher_run(compare.teacher), display)
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
        config, first = comparison.cells[0].config, orders[0]
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


def _train_all(
    cells: Sequence[Cell],
    teacher_id: str | None,
    kinds: Sequence[tuple[str, ...]],
    *,
    jobs: int,
    fresh: bool,
    display: Display,
) -> list[dict[str, Any]]:
    results: dict[int, dict[str, Any]] = {}
    notes: list[str] = []
    warnings: set[str] = set()
    title = f"students ({cells[0].config.student.network})"
    # Each process loads torch by itself, because the threads of a forked process may hang.
    context = multiprocessing.get_context("spawn")
    with (
        display.progress_bar(title, len(cells)) as move,
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_follow_the_parent) as pool,
    ):
        move(0, "")
        running = {
            pool.submit(_train_cell, cell.config.model_dump(mode="json"), teacher_id, kinds[index], fresh): index
            for index, cell in enumerate(cells)
        }
        try:
            for future in as_completed(running):
                index = running[future]
                results[index], noted, doubts = future.result()
                notes += noted
                for warning in set(doubts) - warnings:  # many students learn from the same outputs
                    display.note(warning)
                warnings.update(doubts)
                move(len(results), f"{cells[index].label}, n = {cells[index].n}, seed {cells[index].seed}")
        except BaseException:
            # Students that were not begun must not delay the end.
            display.note("ending the students in training; the same command resumes with those that are not finished")
            for future in running:
                future.cancel()
            raise
    if notes:
        display.note(notes[0] + (f"; and {len(notes) - 1} more likewise" if len(notes) > 1 else ""))
    return [
        {"method": cell.label, "n": cell.n, "seed": cell.seed, **_kept(results[index])}
        for index, cell in enumerate(cells)
    ]


def _kept(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in ("accuracy", "calls", "steps", "best_validation")}


def _train_cell(
    document: dict[str, Any], teacher_id: str | None, kinds: tuple[str, ...], fresh: bool
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Train one student, in a process of its own; its result, the lines to show, and the warnings."""
    config = RunConfig.model_validate(document)
    samples, notes = _samples(config), list[str]()
    if teacher_id is None or not config.needs_teacher:
        return train_student(config, samples, {}, None, fresh=fresh, note=notes.append), notes, []
    with Cache(config.output.cache) as cache:
        bought = load_bought(cache, config, samples, teacher_id, kinds)
    doubts = classes.doubts(config, samples, bought.targets, bought.class_order)
    return train_student(config, samples, *bought, fresh=fresh, note=notes.append), notes, doubts


def _resolved(cells: Sequence[Cell], *, fresh: bool) -> list[Cell]:
    """The cells in one precision, which is settled here: they may train on machines of several types."""
    configs = resolved_alike([cell.config for cell in cells], fresh=fresh)
    return [cell.with_config(config) for cell, config in zip(cells, configs, strict=True)]


def _runs_of(cells: Sequence[Cell], *, fresh: bool) -> list[preflight.Run]:
    """The run of each cell. Cells that select the same samples share them."""
    selections: dict[str, SelectedSamples] = {}

    def select(config: RunConfig) -> SelectedSamples:
        identity = selection_identity(config)
        if identity not in selections:
            selections[identity] = SelectedSamples(_samples(config), rounds=1, later=0, teacher_id=None)
        return selections[identity]

    return [preflight.Run(cell.config, partial(select, cell.config), trains=True, fresh=fresh) for cell in cells]


def _samples(config: RunConfig) -> Samples:
    data = config.data
    return Samples.among(_dataset(data.name, data.root, data.path, data.image_size), config)


@lru_cache(maxsize=1)
def _dataset(name: str, root: Path, path: Path | None, image_size: tuple[int, int] | None) -> Dataset:
    return load_dataset(name, root, path=path, image_size=image_size)


def _follow_the_parent() -> None:
    """Leave interrupts to the parent process, and end when it ends, for any reason."""
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to its children too
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _quota_facts(quota: Quota | None) -> dict[str, int] | None:
    return None if quota is None else {"limit": quota.limit, "used": quota.used, "remaining": quota.remaining}
