"""The checks before a purchase, as findings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from distill_worker.buying.plan import Plan
from distill_worker.buying.planning import plan as plan_purchase
from distill_worker.cache import Cache
from distill_worker.cli.contact import Contact
from distill_worker.cli.doctor.finding import Finding
from distill_worker.cli.tables.buying import duration, money
from distill_worker.errors import WorkerError, counted
from distill_worker.runs import purchase
from distill_worker.runs.preflight import (
    WITH_CACHE,
    WITH_DESCRIPTION,
    WITH_OUTPUTS,
    WITH_PLAN,
    WITHOUT_TEACHER,
    Check,
    Lesson,
    Run,
    Sale,
    outcomes,
)
from distill_worker.runs.preflight.remedies import REMEDIES
from distill_worker.runs.resolution import SLOW_BFLOAT16, is_slow, note_of
from distill_worker.runs.sampling.held_samples import advised
from distill_worker.teachers.base import Description, Teacher

_PLAN: Final = "plan"
_RATE: Final = "rate"
_PLAN_REMEDY: Final = "run distill-worker plan, which shows the whole purchase"


def check_run(run: Run) -> Iterator[Finding]:
    """Everything that needs no teacher; what the samples are is said by the check of that name."""
    training = run.config.training
    for finding in _findings(
        WITHOUT_TEACHER, run, {"device": lambda: note_of(training), "samples": lambda: _chosen(run)}
    ):
        yield finding
        if finding.check == "precision" and is_slow(training):
            yield Finding.warning("precision", SLOW_BFLOAT16, 'set training.precision to "auto" or "float32"')


def _chosen(run: Run) -> str:
    later = f", and {run.selected.later} in later rounds" if run.selected.later else ""
    return f"{counted(run.samples.n, 'sample')} can be chosen{later}"


def check_sale(run: Run, contact: Contact | None, cache: Cache) -> Iterator[Finding]:
    """Teacher and data, the student on the teacher's outputs, the space on the disks, and the plan.

    `contact` is None if the run needs no teacher.
    """
    if contact is None:
        yield from _findings(WITH_OUTPUTS, Lesson(run, {}, None))
        return
    if contact.teacher is None or contact.description is None:
        yield from not_checked("the teacher must be reached first")
        return
    sale = Sale(run, contact.description, cache)
    findings = list(_findings(WITH_DESCRIPTION, sale))
    yield from findings
    if any(finding.remedy for finding in findings):
        yield from _skipped((*WITH_OUTPUTS, *WITH_CACHE, *WITH_PLAN), "teacher and data must fit first")
        return
    yield from _findings(WITH_OUTPUTS, sale.lesson)
    if sale.values_to_buy:
        yield from _findings(WITH_CACHE, sale)
    yield from _planned(run, contact.teacher, contact.description, cache)


def not_checked(reason: str) -> Iterator[Finding]:
    """The findings of `check_sale` where nothing can be checked."""
    return _skipped((*WITH_DESCRIPTION, *WITH_OUTPUTS, *WITH_CACHE, *WITH_PLAN), reason)


def not_checked_without_run(reason: str) -> Iterator[Finding]:
    """The findings of `check_run` where nothing can be checked."""
    return _skipped(WITHOUT_TEACHER, reason)


def _planned(run: Run, teacher: Teacher, description: Description, cache: Cache) -> Iterator[Finding]:
    config, selected = run.config, run.selected
    try:
        order = purchase.make_order(config, selected.samples, teacher, description, cache)
        made = advised(plan_purchase(order), config, selected)
    except WorkerError as error:
        yield Finding.fault(_PLAN, error, _PLAN_REMEDY)
        return
    yield from _findings(WITH_PLAN, made, {"quota": lambda: _quota(made)})
    yield Finding.ok(_RATE, _rate(made))


def _quota(plan: Plan) -> str:
    price = "" if plan.price is None else f", for at most {money(plan, plan.most_calls)}"
    buys = f"the run buys {plan.outstanding} of {plan.wanted} wanted samples{price}"
    if plan.quota is None:
        return f"{buys}; the teacher states no quota" if plan.outstanding else f"{buys}: all others are in the cache"
    return f"{buys}; {plan.quota.remaining} of {plan.quota.limit} calls remain"


def _rate(plan: Plan) -> str:
    if not plan.outstanding:
        return "nothing is left to buy"
    if plan.quota is None or not plan.quota.rates:
        return f"{counted(plan.requests, 'request')}; the teacher states no rate limit"
    rates = " and ".join(f"{rate.per_minute} {rate.unit} a minute" for rate in plan.quota.rates)
    return f"the purchase takes {duration(plan.seconds or 0)} or more, at {rates}"


def _findings(
    checks: Sequence[Check[Any]], facts: Any, lines: Mapping[str, Callable[[], str]] | None = None
) -> Iterator[Finding]:
    """Run checks. `lines` say what holds, where that is more than the sentence of the check."""
    for check, error in outcomes(checks, facts):
        if error is not None:
            yield Finding.fault(check.name, error, REMEDIES[check.name])
        else:
            yield Finding.ok(check.name, (lines or {}).get(check.name, lambda check=check: check.must_hold)())


def _skipped(checks: Sequence[Check[Any]], reason: str) -> Iterator[Finding]:
    return (Finding.not_checked(check.name, reason) for check in checks)
