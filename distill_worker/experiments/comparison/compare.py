"""Run a comparison: open the teacher, buy all outputs, train the students, collect the facts.

All outputs are planned as one purchase and bought before the first student is trained, so a comparison that the quota
cannot pay for fails at once. Rows that select in rounds buy their first round then; each later round is one more
purchase for all rows together, after the students that select it are trained.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any, Final, NamedTuple

from distill_worker.buying.order import PurchaseOrder
from distill_worker.buying.plan import Plan
from distill_worker.cache import Cache
from distill_worker.config.run_config import RunConfig
from distill_worker.experiments.comparison.cells import Comparison
from distill_worker.experiments.comparison.joint_purchase import (
    advised,
    buy_jointly,
    calls_beyond,
    description_if_cached,
    distinct_purchases,
    joint_orders,
    kinds_of_cells,
    samples_of_later_rounds,
)
from distill_worker.experiments.comparison.students import doubts, in_next_round, inputs_of, runs_of, train_students
from distill_worker.experiments.display import SILENCE, Display
from distill_worker.experiments.engines import opened_engine
from distill_worker.experiments.engines.inputs import Inputs
from distill_worker.experiments.own_teacher.local_teacher import add_to_quota, quota_of, serving, train_teacher
from distill_worker.experiments.results.equivalent_calls import equivalents
from distill_worker.runs import classes, preflight, purchase
from distill_worker.runs.resolution import note_of, resolved_alike, resolved_like
from distill_worker.runs.sampling.held_samples import check_complete
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
        on_plan: gets the plan of the whole purchase before anything is spent, and of each later round's; see
            `purchase.buy`. By default, the quota must suffice.
        display: shows the progress.

    Raises:
        PlanRefused: `max_calls` left some outputs for later; nothing was trained on this round's.
        WorkerError: see `preflight.check_sales` and `purchase.buy`.
    """
    started = time.perf_counter()
    comparison = _resolved(comparison, fresh=fresh)
    compare, cells = comparison.compare, comparison.cells
    base = cells[0].config
    for line in _each_once(note_of(cell.config.training) for cell in cells):
        display.note(line)
    runs = runs_of(cells, fresh=fresh)
    for run in runs:
        preflight.check_run(run)
    with opened_engine(compare, base.training, display.note) as engine:
        for config in {(cell.config.networks, cell.config.assistant): cell.config for cell in cells}.values():
            engine.check(config)
        train = partial(train_students, engine=engine, directory=compare.directory, fresh=fresh, display=display)
        buy = partial(_bought, comparison, display=display, on_plan=on_plan or within_quota, max_calls=max_calls)
        lessons = buy(runs)
        while any(run.selected.later for run in runs):
            runs = in_next_round(cells, runs, lessons.inputs, train, display)
            lessons = buy(runs, after=lessons)
        results = train(cells, lessons.inputs)
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


class _Calls(NamedTuple):
    """What the purchases of the comparison have cost so far."""

    paid: int | None = 0
    """None if the teacher states no quota."""
    cache_hits: int = 0
    wanted: int = 0
    bought: int = 0
    quota: dict[str, int] | None = None

    def and_then(self, *, paid: int | None, cached: int, wanted: int, bought: int, quota: Quota | None) -> "_Calls":
        """These and one purchase more, whose samples include those of all earlier ones."""
        return _Calls(
            None if self.paid is None or paid is None else self.paid + paid,
            self.cache_hits + cached - self.wanted,
            wanted,
            self.bought + bought,
            self.quota if quota is None else _quota_facts(quota),
        )


class _Bought(NamedTuple):
    inputs: list[Inputs]
    """What the student of each cell learns from."""
    teacher: dict[str, Any]
    calls: _Calls
    notes: list[str]

    @property
    def facts(self) -> dict[str, Any]:
        """JSON-able: `teacher`, `calls_paid`, `cache_hits`, `quota`."""
        calls = self.calls
        return {
            "teacher": self.teacher,
            "calls_paid": calls.paid,
            "cache_hits": calls.cache_hits,
            "quota": calls.quota,
        }


_NOTHING: Final = _Bought([], {}, _Calls(), [])


def _bought(
    comparison: Comparison,
    all_runs: Sequence[preflight.Run],
    *,
    after: _Bought = _NOTHING,
    display: Display,
    on_plan: Callable[[Plan], bool],
    max_calls: int | None,
) -> _Bought:
    """Buy the outputs that the cache lacks, and load what each student learns from. `after` has the earlier rounds."""
    compare, cells = comparison.compare, comparison.cells
    configs = [cell.config for cell in distinct_purchases(cells)]
    runs = [run for config in configs for run in all_runs if run.config is config]
    teacher_facts: dict[str, Any] = {}
    calls = after.calls
    with Cache(cells[0].config.output.cache) as cache:
        description = None if compare.teacher is not None else description_if_cached(runs, cache)
        if not runs:
            preflight.check_lessons(preflight.Lesson(run, {}, None) for run in all_runs)
        elif description is not None:
            preflight.check_sales(all_runs, description, cache)
            wanted = _wanted(runs)
            display.note(f"all {wanted} wanted outputs are cached; no request was sent")
            calls = calls.and_then(paid=0, cached=wanted, wanted=wanted, bought=0, quota=None)
        else:
            with _teacher(comparison, runs, cache, display) as (client, teacher_facts):
                description = client.describe()
                preflight.check_sales(all_runs, description, cache)
                left = None if max_calls is None else max(0, max_calls - calls.bought)
                orders = joint_orders(runs, client, description, cache, max_calls=left)
                calls = _buy(comparison, runs, client, orders, on_plan, display, calls)
        teacher_id = None if description is None else description.id
        kinds = kinds_of_cells(cells, runs, description, cache)
        inputs = inputs_of(all_runs, kinds, teacher_id, cache)
    noted = (runs or all_runs)[0]
    class_names = None if description is None else description.class_names
    notes = [*classes.notes(noted.config, noted.samples.dataset, class_names), *doubts(all_runs, inputs)]
    for line in notes:
        if line not in after.notes:
            display.note(line)
    teacher = {"id": teacher_id, "outputs": sorted(set(chain(*kinds))), **teacher_facts}
    return _Bought(inputs, teacher, calls, [*after.notes, *notes])


@contextmanager
def _teacher(
    comparison: Comparison, runs: Sequence[preflight.Run], cache: Cache, display: Display
) -> Iterator[tuple[Teacher, dict[str, Any]]]:
    compare = comparison.compare
    if compare.teacher is None:
        with purchase.connect(comparison.cells[0].config, display.note) as (client, _):
            yield client, {}
        return
    teacher_run = resolved_like(comparison.teacher_run(compare.teacher), comparison.cells[0].config)
    teacher = train_teacher(teacher_run, display)
    most = _wanted(runs) + samples_of_later_rounds(runs)
    quota = most if compare.quota is None else compare.quota
    features = any(len(run.config.teacher_kinds) > 1 for run in runs)
    with serving(teacher, compare.directory, quota=quota, features=features, display=display) as client:
        stated = quota_of(client)
        if compare.quota is None and stated.remaining < most:  # the key may be from before a row was added
            add_to_quota(calls_beyond(stated, runs, client, cache), compare.directory, features=features)
        yield client, teacher.facts()


def _buy(
    comparison: Comparison,
    runs: Sequence[preflight.Run],
    client: Teacher,
    orders: Sequence[PurchaseOrder],
    on_plan: Callable[[Plan], bool],
    display: Display,
    calls: _Calls,
) -> _Calls:
    """Buy what is missing; the calls with those of this purchase.

    Raises:
        PlanRefused: `max_calls` leaves some samples for later.
    """
    before, cached, bought = client.quota(), 0, 0
    if orders:
        images = runs[0].samples.images_by_key()
        client.use_files(runs[0].samples.files_by_key())
        # The description of the own teacher must not be taken for that of the teacher at the configured address.
        address = comparison.cells[0].config.resolved_teacher if comparison.compare.teacher is None else None
        samples, kinds = [run.samples for run in runs], [kind for order in orders for kind in order.kinds]
        config, first = _labelled(runs), orders[0]
        plan, bought = buy_jointly(
            orders,
            images,
            address=address,
            on_plan=lambda plan: on_plan(advised(plan, runs)),
            on_answer=classes.judge(config, samples, first.description, first.cache, kinds),
            display=display,
        )
        check_complete(plan, calls.bought + bought)
        cached = plan.cached
    after = client.quota()
    paid = after.used - before.used if before and after else None
    return calls.and_then(paid=paid, cached=cached, wanted=_wanted(runs), bought=bought, quota=after)


def _wanted(runs: Sequence[preflight.Run]) -> int:
    """The different samples that runs want."""
    return len({key for run in runs for key in run.samples.wanted})


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


def _labelled(runs: Sequence[preflight.Run]) -> RunConfig:
    """A run whose track has labels, with which the teacher must agree; if there is none, any run."""
    return next((run.config for run in runs if run.config.track != "unlabelled-pool"), runs[0].config)


def _each_once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _quota_facts(quota: Quota) -> dict[str, int]:
    return {"limit": quota.limit, "used": quota.used, "remaining": quota.remaining}
