"""What the students of a comparison learn from: the outputs that the cache lacks are bought, and all are loaded.

All outputs are planned as one purchase. Rows that select in rounds buy their first round then; each later round is one
more purchase for all rows together, after the students that select it are trained.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any, Final, NamedTuple

from distill_worker.buying.order import PurchaseOrder
from distill_worker.buying.plan import Plan
from distill_worker.cache import Cache
from distill_worker.config.run_config import RunConfig
from distill_worker.experiments.comparison.cells import Comparison
from distill_worker.experiments.comparison.compare_section import LocalTeacher
from distill_worker.experiments.comparison.joint_purchase import (
    advised,
    are_cached,
    buy_jointly,
    calls_beyond,
    description_if_cached,
    distinct_purchases,
    joint_orders,
    kinds_of_cells,
    samples_of_later_rounds,
)
from distill_worker.experiments.comparison.students import doubts, in_next_round, inputs_of
from distill_worker.experiments.display import Display
from distill_worker.experiments.engines.inputs import Inputs
from distill_worker.experiments.own_teacher.local_teacher import (
    TrainedTeacher,
    add_to_quota,
    degraded,
    own_description,
    quota_of,
    save_own_description,
    serving,
    train_teacher,
)
from distill_worker.runs import classes, preflight, purchase
from distill_worker.runs.resolution import device_of, resolved_like
from distill_worker.runs.sampling.held_samples import check_complete
from distill_worker.teachers.base import Description, Quota, Teacher
from shared.degradation import Degradation


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


class Lessons(NamedTuple):
    """What the students of a comparison learn from."""

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


NO_LESSONS: Final = Lessons([], {}, _Calls(), [])
"""Before the first round."""


def lessons_of(
    comparison: Comparison,
    runs: Sequence[preflight.Run],
    train: Callable[..., list[dict[str, Any]]],
    *,
    display: Display,
    on_plan: Callable[[Plan], bool],
    max_calls: int | None = None,
) -> Lessons:
    """Buy what the students of a comparison learn from, in all rounds, and load it.

    Args:
        comparison: resolved and checked.
        runs: one for each cell.
        train: trains the students that select samples, as `train_students` does.
        display: shows the progress.
        on_plan: gets the plan of each purchase before anything is spent; see `purchase.buy`.
        max_calls: the most samples to buy now.

    Raises:
        PlanRefused: `max_calls` left some outputs for later.
        WorkerError: see `preflight.check_sales` and `purchase.buy`.
    """
    buy = partial(lessons_of_round, comparison, display=display, on_plan=on_plan, max_calls=max_calls)
    lessons = buy(runs)
    while any(run.selected.later for run in runs):
        runs = in_next_round(comparison.cells, runs, lessons.inputs, train, display)
        lessons = buy(runs, after=lessons)
    return lessons


def plan_of(comparison: Comparison, all_runs: Sequence[preflight.Run], display: Display) -> Plan | None:
    """The plan of what a comparison buys now, and in later rounds, at an address; None if nothing is missing.

    Everything is checked that can be checked before a call is spent. Only free requests are sent.

    Raises:
        WorkerError: see `preflight.check_sales`.
    """
    runs = runs_that_buy(comparison, all_runs)
    with Cache(comparison.cells[0].config.output.cache) as cache:
        if not runs or (description_if_cached(runs, cache) is not None and not samples_of_later_rounds(runs)):
            return None
        with purchase.connect(comparison.cells[0].config, display.note) as (client, description):
            preflight.check_sales(all_runs, description, cache)
            client.use_files(runs[0].samples.files_by_key())
            orders = joint_orders(runs, client, description, cache)
            return advised(purchase.planned(orders), runs) if orders else None


def lessons_of_round(
    comparison: Comparison,
    all_runs: Sequence[preflight.Run],
    *,
    after: Lessons = NO_LESSONS,
    display: Display,
    on_plan: Callable[[Plan], bool],
    max_calls: int | None = None,
    states_quota: bool = True,
) -> Lessons:
    """Buy the outputs that the cache lacks of what is selected so far, and load what each student learns from.

    Args:
        comparison: resolved and checked.
        all_runs: one for each cell, with the samples of this round.
        after: the lessons of the rounds before.
        display: shows the progress.
        on_plan: gets the plan before anything is spent; see `purchase.buy`.
        max_calls: the most samples to buy now.
        states_quota: whether an own teacher is served even if all outputs are cached, so that it states its quota.

    Raises:
        PlanRefused, WorkerError: see `lessons_of`.
    """
    cells = comparison.cells
    runs = runs_that_buy(comparison, all_runs)
    own: TrainedTeacher | None = None
    calls, agreement = after.calls, None
    with Cache(cells[0].config.output.cache) as cache:
        if runs and comparison.compare.teacher is not None:
            own = _own_teacher(comparison, comparison.compare.teacher, runs[0], display)
        description = None if own is not None and states_quota else _description_if_cached(comparison, own, runs, cache)
        if not runs:
            preflight.check_lessons(preflight.Lesson(run, {}, None) for run in all_runs)
        elif description is not None:
            preflight.check_sales(all_runs, description, cache)
            wanted = _wanted(runs)
            display.note(f"all {wanted} wanted outputs are cached; no request was sent")
            calls = calls.and_then(paid=0, cached=wanted, wanted=wanted, bought=0, quota=None)
        else:
            with _opened(comparison, own, runs, cache, display) as client:
                description = client.describe()
                if own is not None and not states_quota:
                    save_own_description(own, cache, description, sold=_sold(comparison, runs))
                preflight.check_sales(all_runs, description, cache)
                left = None if max_calls is None else max(0, max_calls - calls.bought)
                orders = joint_orders(runs, client, description, cache, max_calls=left)
                calls = _buy(comparison, runs, client, orders, on_plan, display, calls)
        teacher_id = None if description is None else description.id
        kinds = kinds_of_cells(cells, runs, description, cache)
        inputs = inputs_of(all_runs, kinds, teacher_id, cache)
        if description is not None:
            samples = [run.samples for run in runs]
            agreement = classes.agreement_so_far(_labelled(runs), samples, description, cache, [*chain(*kinds)])
    noted = (runs or all_runs)[0]
    class_names = None if description is None else description.class_names
    notes = [*classes.notes(noted.config, noted.samples.dataset, class_names), *doubts(all_runs, inputs)]
    for line in notes:
        if line not in after.notes:
            display.note(line)
    own_facts = {} if own is None else own.facts()
    counts = {} if agreement is None else {"agreement": agreement.counts._asdict()}
    teacher = {"id": teacher_id, "outputs": sorted(set(chain(*kinds))), **counts, **own_facts}
    return Lessons(inputs, teacher, calls, [*after.notes, *notes])


def runs_that_buy(comparison: Comparison, all_runs: Sequence[preflight.Run]) -> list[preflight.Run]:
    """One run for each different purchase of a comparison, in the order of purchase."""
    configs = [cell.config for cell in distinct_purchases(comparison.cells)]
    return [run for config in configs for run in all_runs if run.config is config]


def _own_teacher(comparison: Comparison, teacher: LocalTeacher, run: preflight.Run, display: Display) -> TrainedTeacher:
    """The own teacher as it is sold; `run` is one of the comparison's, and has its data."""
    trained = train_teacher(resolved_like(comparison.teacher_run(teacher), comparison.cells[0].config), display)
    if not teacher.prune and teacher.degradation == Degradation():
        return trained
    return degraded(
        trained,
        comparison.place_of_service,
        prune=teacher.prune,
        degradation=teacher.degradation,
        test=run.samples.dataset.test,
        device=device_of(run.config.training.device),
    )


def _description_if_cached(
    comparison: Comparison, own: TrainedTeacher | None, runs: Sequence[preflight.Run], cache: Cache
) -> Description | None:
    if own is None:
        return description_if_cached(runs, cache)
    description = own_description(own, cache, sold=_sold(comparison, runs))
    return description if description is not None and are_cached(runs, description, cache) else None


@contextmanager
def _opened(
    comparison: Comparison, own: TrainedTeacher | None, runs: Sequence[preflight.Run], cache: Cache, display: Display
) -> Iterator[Teacher]:
    compare = comparison.compare
    if own is None:
        with purchase.connect(comparison.cells[0].config, display.note) as (client, _):
            yield client
        return
    most = _wanted(runs) + samples_of_later_rounds(runs)
    quota = most if compare.quota is None else compare.quota
    place, features, outputs = comparison.place_of_service, _need_features(runs), _outputs(comparison)
    with serving(own, place, quota=quota, features=features, outputs=outputs, display=display) as client:
        stated = quota_of(client)
        if compare.quota is None and stated.remaining < most:  # the key may be from before a row was added
            add_to_quota(calls_beyond(stated, runs, client, cache), place, features=features)
        yield client


def _outputs(comparison: Comparison) -> str | None:
    """The kinds of output that the own teacher sells, if it does not sell what it does by default."""
    return None if comparison.compare.teacher is None else comparison.compare.teacher.outputs


def _sold(comparison: Comparison, runs: Sequence[preflight.Run]) -> str:
    """Names what the API key of an own teacher may request."""
    return f"{_outputs(comparison)}, features: {_need_features(runs)}"


def _need_features(runs: Sequence[preflight.Run]) -> bool:
    return any(len(run.config.teacher_kinds) > 1 for run in runs)


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


def _labelled(runs: Sequence[preflight.Run]) -> RunConfig:
    """A run whose track has labels, with which the teacher must agree; if there is none, any run."""
    return next((run.config for run in runs if run.config.track != "unlabelled-pool"), runs[0].config)


def _quota_facts(quota: Quota) -> dict[str, int]:
    return {"limit": quota.limit, "used": quota.used, "remaining": quota.remaining}
