"""The purchase of a comparison: the samples of all its runs, planned and agreed to together, each bought once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from distill_worker.buying import planning
from distill_worker.buying.fetch import NO_CALLBACKS, Callbacks, OnAnswer
from distill_worker.buying.order import Images, PurchaseOrder
from distill_worker.buying.output_choice import choose_outputs
from distill_worker.buying.plan import Advice, Plan
from distill_worker.cache import Cache
from distill_worker.config.run_config import RunConfig
from distill_worker.config.teacher_address import TeacherAddress
from distill_worker.errors import counted
from distill_worker.experiments.comparison.cells import Cell
from distill_worker.experiments.display import Display
from distill_worker.runs import purchase
from distill_worker.runs.preflight import Run
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.sampling.targets import cached_kinds
from distill_worker.teachers.base import Description, Quota, Teacher

_ADVICE: Final = Advice("compare.n", lower="lower compare.n")


def distinct_purchases(cells: Sequence[Cell]) -> list[Cell]:
    """One cell for each different purchase, the largest n first: its samples are bought first, in their order.

    Of the cells with the same purchase, it is one whose track has labels, if there is one.
    """
    cells_by_purchase: dict[str, Cell] = {}
    for cell in sorted(cells, key=lambda cell: (-cell.n, cell.config.track == "unlabelled-pool")):
        if cell.config.needs_teacher:
            cells_by_purchase.setdefault(_purchase_identity(cell.config), cell)
    return list(cells_by_purchase.values())


def description_if_cached(runs: Sequence[Run], cache: Cache) -> Description | None:
    """The stored description of the teacher, if the outputs of all runs are in the cache; this sends no request."""
    held = [purchase.cached_already(run.config, run.samples, cache) for run in runs]
    descriptions = [one[1] for one in held if one is not None]
    return descriptions[0] if descriptions and len(descriptions) == len(runs) else None


def are_cached(runs: Sequence[Run], description: Description, cache: Cache) -> bool:
    """Whether all outputs that the runs need of a teacher are in the cache; this sends no request."""
    plans = (
        planning.plan_of_cached(
            description, cache, run.samples.keys, kinds=purchase.kinds_of(run.config, run.samples, description, cache)
        )
        for run in runs
    )
    return all(plan is not None for plan in plans)


def kinds_of_cells(
    cells: Sequence[Cell], runs: Sequence[Run], description: Description | None, cache: Cache
) -> list[tuple[str, ...]]:
    """The kinds of output that each cell learns from; `runs` has one run for each different purchase.

    `description` is None if no cell needs a teacher.

    Raises:
        PlanRefused: the teacher does not sell what a cell needs.
    """
    if description is None:
        return [()] * len(cells)
    held = {_purchase_identity(run.config): cached_kinds(cache, description.id, run.samples.keys) for run in runs}
    return [
        choose_outputs(cell.config, [*description.outputs, *held.get(_purchase_identity(cell.config), ())])
        for cell in cells
    ]


def joint_orders(
    runs: Sequence[Run], teacher: Teacher, description: Description, cache: Cache, *, max_calls: int | None = None
) -> list[PurchaseOrder]:
    """One order for each set of kinds: together, they have every sample of the runs once."""
    kinds = [purchase.kinds_of(run.config, run.samples, description, cache) for run in runs]

    def orders_of(images_by_kinds: Mapping[tuple[str, ...], Mapping[bytes, Images]]) -> list[PurchaseOrder]:
        return [
            purchase.order_of(runs[0].config, wanted, wanted_kinds, teacher, description, cache, max_calls=max_calls)
            for wanted_kinds, wanted in images_by_kinds.items()
        ]

    orders = orders_of(wanted_by_kinds([run.samples for run in runs], kinds))
    later = {kind for run, needed in zip(runs, kinds, strict=True) if run.selected.later for kind in needed}
    return orders if all(later <= {*order.kinds} for order in orders) else orders_of(_with_kinds(orders, later))


def _with_kinds(orders: Sequence[PurchaseOrder], later: set[str]) -> dict[tuple[str, ...], dict[bytes, Images]]:
    """What the orders want, by kinds, with those of later rounds for each sample that is bought now.

    A later round may select a sample that another run has bought, and the same call brings all kinds. A sample that is
    in the cache, or in an open purchase, would be paid for again: it keeps its kinds.
    """
    wanted: dict[tuple[str, ...], dict[bytes, Images]] = {}
    for order in orders:
        is_new = set(planning.plan(replace(order, max_calls=None)).to_buy).__contains__
        more = tuple(sorted({*order.kinds, *later}))
        for key, images in order.samples.items():
            wanted.setdefault(more if is_new(key) else order.kinds, {})[key] = images
    return wanted


def wanted_by_kinds(
    samples: Sequence[Samples], kinds: Sequence[tuple[str, ...]]
) -> dict[tuple[str, ...], dict[bytes, Images]]:
    """The images to buy, by the kinds of output to buy of them, and by sample key in the order of purchase.

    One call buys all kinds that any run needs of a sample. Mixtures come after the plain samples of all runs.
    """
    images: dict[bytes, Images] = {}
    kinds_by_key: dict[bytes, set[str]] = {}
    for of_run, needed in zip(samples, kinds, strict=True):
        images |= of_run.wanted
        for key in of_run.wanted:
            kinds_by_key.setdefault(key, set()).update(needed)
    plain = dict.fromkeys(key for of_run in samples for key in islice(of_run.wanted, of_run.n))
    wanted: dict[tuple[str, ...], dict[bytes, Images]] = {}
    for key in dict.fromkeys((*plain, *images)):
        wanted.setdefault(tuple(sorted(kinds_by_key[key])), {})[key] = images[key]
    return wanted


def buy_jointly(
    orders: Sequence[PurchaseOrder],
    images: Mapping[bytes, Images],
    *,
    address: TeacherAddress | None,
    on_plan: Callable[[Plan], bool],
    on_answer: OnAnswer = NO_CALLBACKS.on_answer,
    display: Display,
) -> tuple[Plan, int]:
    """Buy what is missing; the plan of all orders and the number of samples bought. See `purchase.buy`."""
    with display.progress_bar("buying", None) as move:
        callbacks = Callbacks(
            progress=lambda done, plan: move(done, f"{plan.cached + done} of {plan.wanted} cached", plan.outstanding),
            on_wait=lambda left: display.note(f"waiting for another worker, which is buying {counted(left, 'sample')}"),
            on_end=lambda requests: display.note(f"ending; waiting for {counted(requests, 'answer')} to cache"),
            on_answer=on_answer,
        )
        return purchase.buy(
            orders,
            {**images} | {key: image for order in orders for key, image in order.samples.items()},
            address=address,
            on_plan=on_plan,
            callbacks=callbacks,
        )


def advised(plan: Plan, runs: Sequence[Run]) -> Plan:
    """The plan with what later rounds buy at most, and with what helps if the quota is too small.

    Args:
        plan: of the samples of all runs.
        runs: one run for each different purchase.
    """
    in_later_round = any(run.selected.rounds > 1 for run in runs)
    advice = replace(_ADVICE, lower="", spent="Nothing was spent in this round") if in_later_round else _ADVICE
    return replace(plan, advice=advice, later=samples_of_later_rounds(runs))


def samples_of_later_rounds(runs: Sequence[Run]) -> int:
    """The most samples that later rounds select: two runs may select the same ones."""
    return sum(run.selected.later for run in runs)


def calls_beyond(quota: Quota, runs: Sequence[Run], teacher: Teacher, cache: Cache) -> int:
    """The calls that a quota lacks for what the cache lacks now, and for what later rounds select at most.

    Args:
        quota: of the teacher.
        runs: one run for each different purchase.
        teacher: is not bought from.
        cache: where outputs are bought into.
    """
    orders = joint_orders(runs, teacher, teacher.describe(), cache)
    new = sum(len(planning.plan(order).to_buy) for order in orders)
    return max(0, new + samples_of_later_rounds(runs) - quota.remaining)


def selection_identity(config: RunConfig) -> str:
    """The settings of a comparison's run that its samples depend on: in rounds, all of them."""
    if config.budget.rounds > 1:
        return str(config.output.directory)
    mixing = [method.model_dump() for method in config.methods if getattr(method, "mixtures", 0)]
    augmentation = config.augmentation
    view = augmentation.model_dump(exclude={"policy"}) if augmentation.query_view == "augmented" else None
    return repr((config.budget, config.corruption, view, config.training.validated_share, mixing))


def _purchase_identity(config: RunConfig) -> str:
    return repr((config.teacher_kinds, selection_identity(config)))
