"""Prices and bills as tables: the price on standard error, what a command returns on standard output."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from distill_worker.buying.kept_answers import most_common_reasons
from distill_worker.buying.plan import Plan
from distill_worker.buying.reconciliation.report import Reconciliation
from distill_worker.cli.console import answers, notes
from distill_worker.cli.tables.rows import ROWS_SHOWN, print_rest, print_rows
from distill_worker.errors import counted
from distill_worker.runs.purchase import Source


def show_plan(plan: Plan, source: Source | None = None, console: Console = notes) -> None:
    """Print the price of a plan and who is paid; by default on standard error, before it is paid."""
    table = Table("plan", "calls", title=None, show_edge=False, pad_edge=False)
    table.add_row("wanted", str(plan.wanted))
    table.add_row("cached", str(plan.cached))
    if plan.reopened:
        table.add_row("in open purchases, requested again (free if charged before)", str(plan.reopened_samples))
    if plan.elsewhere:
        table.add_row("being bought by another worker", str(plan.elsewhere))
    if plan.uncertain:
        table.add_row("uncertain: may have been charged, left alone (see --abandon)", str(plan.uncertain))
    for reason, samples in most_common_reasons(plan.unread):
        table.add_row(escape(f"paid, but not readable: {reason}"), str(samples))
    table.add_row("to buy", str(len(plan.to_buy)), style="bold")
    if plan.left_out:
        table.add_row("left for later", str(plan.left_out))
    if plan.again:
        table.add_row("of these, cached in part and paid for again", str(plan.again))
    if plan.quota is not None:
        table.add_row("quota remaining", f"{plan.quota.remaining} of {plan.quota.limit}")
    console.print(table)
    price = "" if plan.price is None else f", at most {money(plan, plan.most_calls)}"
    time = f", {duration(plan.seconds)} or more at the allowed rate" if plan.seconds else ""
    summary = f"teacher {plan.teacher_id}, {', '.join(plan.kinds)}, requests: {plan.requests}{price}{time}"
    console.print(summary, markup=False, soft_wrap=True)
    if plan.sends:
        console.print(f"sends {plan.sends}", markup=False, soft_wrap=True)
    if source is not None:
        key_name = None if plan.quota is None else plan.quota.key_name
        console.print(source.described(key_name), markup=False, soft_wrap=True)
    for other in plan.held_of_others:
        console.print(f"note: {other}", markup=False, soft_wrap=True)


def money(plan: Plan, calls: int) -> str:
    """The price of `calls`, with the currency and the decimals of the price per call; empty without a price."""
    return "" if plan.price_per_call is None else price_of(calls, plan.price_per_call, plan.currency)


def price_of(calls: int, price_per_call: float, currency: str) -> str:
    """The price of `calls`, with the currency and the decimals of the price per call."""
    decimals = len(f"{price_per_call:.9f}".rstrip("0").partition(".")[2])
    return f"{calls * price_per_call:.{max(2, decimals)}f} {currency}"


def show_reconciliation(result: Reconciliation) -> None:
    """Print each finding with its samples and its meaning, then the rows that differ."""
    print_rows(("finding", "requests", "samples", "meaning"), result.table())
    if result.differences:
        print_rows(
            ("differs", "samples", "idempotency key", "query", "detail"),
            [
                (row.finding, str(row.samples), row.idempotency_key or "", row.query_id or "", row.detail)
                for row in result.differences[:ROWS_SHOWN]
            ],
        )
    print_rest(len(result.differences))
    answers.print(f"the teacher charged {counted(result.charged, 'sample')}, by its {result.by}", markup=False)


def duration(seconds: float) -> str:
    """A duration for people: exact to the second, from one hour on to the minute."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
