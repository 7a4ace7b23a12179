"""What people see of prices, bills and the cache: the price on standard error, answers on standard output."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from distill_worker.buying.plan import Plan
from distill_worker.buying.reconciliation_report import Reconciliation
from distill_worker.cache.summary import CacheStatistics
from distill_worker.cache.verify import Verification
from distill_worker.cli.console import notes, result_table
from shared.times import to_minute

_ROWS_SHOWN = 20
answers = Console(highlight=False, soft_wrap=True)
"""Standard output."""


def show_plan(plan: Plan, console: Console = notes) -> None:
    """The price, before it is paid."""
    table = Table("plan", "calls", title=None, show_edge=False, pad_edge=False)
    table.add_row("wanted", str(plan.wanted))
    table.add_row("in the cache", str(plan.cached))
    if plan.reopened:
        table.add_row("begun earlier, asked again (free if charged then)", str(plan.reopened_samples))
    if plan.elsewhere:
        table.add_row("being bought by another worker", str(plan.elsewhere))
    if plan.uncertain:
        table.add_row("may have been paid for, left alone (see --abandon)", str(plan.uncertain))
    table.add_row("to buy", str(len(plan.to_buy)), style="bold")
    if plan.left_out:
        table.add_row("left for later", str(plan.left_out))
    if plan.again:
        table.add_row("of these, held in part and paid for again", str(plan.again))
    if plan.quota is not None:
        table.add_row("remaining", f"{plan.quota.remaining} of {plan.quota.limit}")
    console.print(table)
    price = "" if plan.price is None else f", at most {money(plan, plan.most_calls)}"
    time = f", {duration(plan.seconds)} or more at the allowed rate" if plan.seconds else ""
    told = f"teacher {plan.teacher_id}, {', '.join(plan.kinds)}, requests: {plan.requests}{price}{time}"
    console.print(told, markup=False, soft_wrap=True)


def money(plan: Plan, calls: int) -> str:
    """What so many calls cost, with the currency; as exact as the price of one, and empty when there is none."""
    if plan.price_per_call is None:
        return ""
    decimals = len(f"{plan.price_per_call:.9f}".rstrip("0").partition(".")[2])
    return f"{calls * plan.price_per_call:.{max(2, decimals)}f} {plan.currency}"


def show_reconciliation(found: Reconciliation) -> None:
    """The bill: each finding with its samples and what it means, then the rows that differ."""
    _print(("finding", "requests", "samples", "meaning"), found.table())
    if found.differences:
        _print(
            ("differs", "samples", "idempotency key", "query", "detail"),
            [
                (row.finding, str(row.samples), row.idempotency_key or "", row.query_id or "", row.detail)
                for row in found.differences[:_ROWS_SHOWN]
            ],
        )
    if len(found.differences) > _ROWS_SHOWN:
        answers.print(f"and {len(found.differences) - _ROWS_SHOWN} more; --json lists them all")
    answers.print(f"{found.charged} samples were charged, by the teacher's {found.by}", markup=False)


def show_statistics(found: CacheStatistics) -> None:
    """What a cache holds."""
    _print(
        ("teacher", "samples", "kind", "MB"),
        [(row.teacher_id, str(row.samples), row.kind, f"{row.bytes / 1e6:.2f}") for row in found.streams],
    )
    states = ", ".join(f"{count} {status}" for status, count in sorted(found.purchases.items())) or "none"
    since = "" if found.first_at is None else f", from {_moment(found.first_at)} to {_moment(found.last_at)}"
    answers.print(f"{found.place}: {found.samples_paid} samples paid for; purchases: {states}{since}", markup=False)
    if found.samples_open:
        answers.print(f"{found.samples_open} samples are in purchases whose end is not known: run fetch", markup=False)
    if found.set_aside:
        answers.print(f"{found.set_aside} damaged blocks were set aside", markup=False)


def show_damages(found: Verification) -> None:
    """What is damaged, where there is anything."""
    if found.damages:
        _print(
            ("where", "outputs", "teacher", "kind", "what"),
            [(row.place, str(row.rows), row.teacher_id, row.kind, row.reason) for row in found.damages[:_ROWS_SHOWN]],
        )
    if len(found.damages) > _ROWS_SHOWN:
        answers.print(f"and {len(found.damages) - _ROWS_SHOWN} more; --json lists them all")


def _print(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    answers.print(result_table(columns, rows))


def _moment(seconds: float | None) -> str:
    return "" if seconds is None else to_minute(seconds)


def duration(seconds: float) -> str:
    """As people say it: to the second, or to the minute from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
