"""What is checked before a call is spent: the registry of checks, and the functions that run them.

`plan`, `fetch`, `run` (in each round) and `compare` run these checks. docs/checks.md is generated from the registry.
tests/end_to_end/test_nothing_spent.py has a case for each check.

Invariant: a check spends no call, sends no request, writes no file, and changes no result.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Generic, TypeVar

from distill_worker.buying.output_choice import choose_outputs
from distill_worker.buying.plan import Plan
from distill_worker.cache import Cache
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import PlanRefused
from distill_worker.runs.classes import agreement_so_far, check_names
from distill_worker.runs.rounds import SelectedSamples, check_teacher
from distill_worker.runs.samples import Samples
from distill_worker.runs.targets import cached_kinds
from distill_worker.runs.train_student import device_of
from distill_worker.teachers.base import Description

Facts = TypeVar("Facts")


@dataclass(frozen=True)
class Check(Generic[Facts]):
    """One check."""

    name: str
    must_hold: str
    """One sentence for the documentation: what must hold."""
    run: Callable[[Facts], object]
    """Raises `WorkerError` if it does not hold."""


@dataclass(frozen=True)
class Run:
    """A run, or the next round of it, before its teacher is contacted."""

    config: RunConfig
    select: Callable[[], SelectedSamples]
    """Loads the data and selects the samples; called once."""

    @cached_property
    def selected(self) -> SelectedSamples:
        """The samples selected so far."""
        return self.select()

    @property
    def samples(self) -> Samples:
        """The samples to buy and to train on."""
        return self.selected.samples


@dataclass(frozen=True)
class Sale:
    """A run and its teacher, as it describes itself."""

    run: Run
    description: Description
    held: Sequence[str]
    """The kinds of output that the cache holds of all samples: they count as sold."""
    cache: Cache

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds to buy. Raises `PlanRefused` if the teacher does not sell them."""
        return choose_outputs(self.run.config, [*self.description.outputs, *self.held])


BEFORE_THE_TEACHER: Final[tuple[Check[Run], ...]] = (
    Check("device", "`training.device` is a device of this machine", lambda run: device_of(run.config.training.device)),
    Check(
        "samples",
        "the data set can be read and has `budget.n` distinct samples; so can the weights file in `budget.features`",
        lambda run: run.selected,
    ),
)
"""What needs no teacher."""

WITH_DESCRIPTION: Final[tuple[Check[Sale], ...]] = (
    Check(
        "teacher",
        "the teacher is the one that earlier rounds were bought from",
        lambda sale: check_teacher(sale.run.selected, sale.description.id),
    ),
    Check(
        "outputs",
        "the teacher sells an output that every method can learn from",
        lambda sale: sale.kinds,
    ),
    Check("image-shape", "the teacher takes images of the data's shape", lambda sale: _check_shape(sale)),
    Check("classes", "the teacher has as many classes as the data", lambda sale: _check_classes(sale)),
    Check(
        "class-names",
        "the teacher's class names are those of the data in any order, or `[data.classes]` maps them; no label of "
        "`[teacher.labels]` is the name of another class; the names are those of earlier purchases",
        lambda sale: check_names(sale.run.config, sale.run.samples.dataset, sale.description, sale.cache),
    ),
    Check(
        "agreement",
        "where a part is bought already, the teacher agrees with the labels of the data more often than by chance",
        lambda sale: _check_agreement(sale),
    ),
)
"""What needs the teacher's description."""

WITH_PLAN: Final[tuple[Check[Plan], ...]] = (
    Check("quota", "the quota suffices for the purchase", Plan.check),
    Check("limit", "`--max-calls` suffices for an open purchase, which is repeated first", Plan.check_limit),
)
"""What needs the plan of the purchase."""

CHECKS: Final[tuple[Check[Any], ...]] = (*BEFORE_THE_TEACHER, *WITH_DESCRIPTION, *WITH_PLAN)
"""Every check, in the order in which they run."""


def check_run(run: Run) -> None:
    """Check everything that needs no teacher. Raises `WorkerError`."""
    _run(BEFORE_THE_TEACHER, run)


def check_sale(run: Run, description: Description, cache: Cache) -> None:
    """Check the run against the teacher's description, present or stored. Raises `WorkerError`."""
    held = cached_kinds(cache, description.id, run.samples.keys)
    _run(WITH_DESCRIPTION, Sale(run, description, held, cache))


def check_plan(plan: Plan) -> None:
    """Check the plan of a purchase. Raises `PlanRefused`."""
    _run(WITH_PLAN, plan)


def table() -> str:
    """The registry as a Markdown table."""
    known_from: Mapping[str, Sequence[Check[Any]]] = {
        "configuration and data": BEFORE_THE_TEACHER,
        "the teacher's description": WITH_DESCRIPTION,
        "the plan": WITH_PLAN,
    }
    rows = [
        f"| {check.name} | {check.must_hold} | {source} |" for source, checks in known_from.items() for check in checks
    ]
    return "\n".join(["| check | what must hold | checked with |", "|---|---|---|", *rows]) + "\n"


def _run(checks: Sequence[Check[Facts]], facts: Facts) -> None:
    for check in checks:
        check.run(facts)


def _check_shape(sale: Sale) -> None:
    expected, got = sale.description.image_shape, sale.run.samples.dataset.image_shape
    if expected not in (None, got):
        raise PlanRefused(
            f"data: expected images of shape {list(expected or ())}, which the teacher takes, got {list(got)} in the "
            "data set. Nothing was spent. Check teacher.url and teacher.model"
        )


def _check_classes(sale: Sale) -> None:
    expected, got = sale.description.num_classes, len(sale.run.samples.dataset.class_names)
    if expected != got:
        raise PlanRefused(
            f"data: expected {expected} classes, as the teacher has, got {got} in the data set. Nothing was spent. "
            "Check teacher.url, teacher.model and data.path"
        )


def _check_agreement(sale: Sale) -> None:
    run = sale.run
    if set(sale.kinds) <= set(sale.held):
        return  # nothing is left to buy
    if agreement := agreement_so_far(run.config, [run.samples], sale.description, sale.cache, sale.kinds):
        try:
            agreement.check()
        except PlanRefused as error:
            raise PlanRefused(f"{error}. Nothing was spent now") from error
