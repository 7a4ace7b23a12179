"""One purchase from the command line: show the price, get an agreement to it, buy, and show the progress."""

import sys
import time

import typer

from distill_worker.buying.fetch import Callbacks
from distill_worker.buying.order import Abandoned
from distill_worker.buying.plan import Plan
from distill_worker.cache import Cache
from distill_worker.cli.console import notes, progress_bar, say
from distill_worker.cli.tables_buying import duration, money, show_plan
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import PlanRefused, counted
from distill_worker.runs import classes, preflight, purchase
from distill_worker.runs.rounds import SelectedSamples
from distill_worker.teachers.base import Description
from shared.times import to_minute


def buy(
    run: preflight.Run,
    *,
    abandon: Abandoned | None = None,
    max_calls: int | None = None,
    yes: bool = False,
) -> tuple[Plan, int]:
    """Show the price and buy what is not cached; the plan and the number of samples bought.

    Where all outputs are cached, no request is sent. The caller has checked what needs no teacher.

    Raises:
        PlanRefused: the user did not agree to the price, or the quota cannot pay; nothing was spent.
        WorkerError: see `preflight.check_sale` and `purchase.buy`.
    """
    config, samples = run.config, run.samples
    with Cache(config.output.cache) as cache:
        if abandon is None and (held := purchase.cached_already(config, samples, cache)) is not None:
            made, description, seen_at = held
            preflight.check_sale(run, description, cache)
            say_notes(run, description)
            seen = to_minute(seen_at)
            outputs = "the 1 wanted output is" if made.wanted == 1 else f"all {made.wanted} wanted outputs are"
            say(f"{outputs} cached; no request was sent (teacher {made.teacher_id}, last seen on {seen})")
            return made, 0
        with (
            purchase.connect(config, say) as (teacher, description),
            progress_bar("buying", shows_remaining_time=False) as move,
        ):
            started = time.monotonic()

            def progress(done: int, plan: Plan) -> None:
                took = max(time.monotonic() - started, 1e-3)
                left = f"{duration(plan.seconds_left(done, took))} left"
                move(done, f"{done / took:.0f}/s, {left}, {_spent(done, plan)}", plan.outstanding)

            def agree(plan: Plan) -> bool:
                nonlocal started
                bound = _agree(plan, yes=yes, capped=max_calls is not None)
                started = time.monotonic()
                return bound

            preflight.check_sale(run, description, cache)
            say_notes(run, description)
            order = purchase.make_order(
                config, samples, teacher, description, cache, max_calls=max_calls, abandon=abandon
            )
            callbacks = Callbacks(
                progress=progress,
                on_wait=lambda left: say(f"waiting for another worker, which is buying {counted(left, 'sample')}"),
                on_end=lambda requests: say(f"ending; waiting for {counted(requests, 'answer')} to cache"),
            )
            return purchase.buy(config, samples, order, on_plan=agree, callbacks=callbacks)


def say_notes(run: preflight.Run, description: Description) -> None:
    """Print how the data were read, and whether classes are mapped."""
    for line in classes.notes(run.config, run.samples.dataset, description.class_names):
        say(line)


def say_round(config: RunConfig, selected: SelectedSamples) -> None:
    """Print the round of a run in rounds."""
    if config.budget.rounds > 1:
        say(
            f"round {selected.rounds} of {config.budget.rounds}: {len(selected.samples.chosen)} of {config.budget.n} "
            f"samples are chosen; the students of later rounds choose the other {selected.later}"
        )


def is_terminal() -> bool:
    """Whether a user can answer a question."""
    return sys.stdin.isatty() and notes.is_terminal


def _agree(plan: Plan, *, yes: bool, capped: bool) -> bool:
    """Show the price and get an agreement to it; whether no more than this price may be spent.

    Raises:
        PlanRefused: the quota cannot pay, or the user did not agree.
    """
    show_plan(plan)
    preflight.check_plan(plan)
    if not plan.most_calls or yes or capped:
        return plan.price is not None
    calls = counted(plan.most_calls, "call")
    price = "" if plan.price is None else f" for {money(plan, plan.most_calls)}"
    if is_terminal():
        if not typer.confirm(f"spend {calls}{price}?", err=True):
            raise PlanRefused("nothing was spent")
        return True
    if price or plan.may_be_held:
        maybe = ", some of them maybe for outputs that are in the cache" if plan.may_be_held else ""
        raise PlanRefused(
            f"expected --yes, or --max-calls with the most samples to buy now, before {calls} can be spent{price} "
            f"without a terminal{maybe}. Nothing was spent"
        )
    return False


def _spent(done: int, plan: Plan) -> str:
    """The progress so far; open purchases are repeated first, and were most likely charged before."""
    charged = max(0, done - plan.reopened_samples)
    spent = f"{done} bought"
    if plan.price_per_call is not None:
        spent += f" ({money(plan, charged)})"
    return spent if plan.quota is None else f"{spent}, {max(0, plan.quota.remaining - charged)} remain"
