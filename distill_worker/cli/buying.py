"""The commands that know the price, spend it, and check the bill: `plan`, `fetch`, `reconcile`."""

import json
import sys
import time
from datetime import UTC, datetime
from typing import Annotated

import torch
import typer

from distill_worker.buying.fetch import Callbacks
from distill_worker.buying.order import Abandoned
from distill_worker.buying.plan import Plan
from distill_worker.buying.plan import plan as plan_purchase
from distill_worker.buying.reconcile import reconcile as compare_with_teacher
from distill_worker.cache import Cache
from distill_worker.cache.database.engine import shown
from distill_worker.cli.console import notes, progress_bar, say
from distill_worker.cli.options import Abandon, AsJson, ConfigFile, MaxCalls, Overrides, Yes
from distill_worker.cli.tables_buying import answers, duration, money, show_plan, show_reconciliation
from distill_worker.config.load import load_config
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError, PlanRefused, WorkerError
from distill_worker.methods import method_name
from distill_worker.runs import purchase as buying
from distill_worker.runs.rounds import Known, check_teacher, known_samples
from distill_worker.runs.samples import Samples
from distill_worker.runs.targets import load_targets


def plan(
    config_file: ConfigFile, overrides: Overrides = None, max_calls: MaxCalls = None, as_json: AsJson = False
) -> None:
    """Say what a run would cost in calls, money and time; spend nothing. Exit status 2 when the quota cannot pay."""
    config = load_config(config_file, overrides or ())
    if not config.needs_teacher:
        print(
            json.dumps({"wanted": 0, "to_buy": 0})
            if as_json
            else f"{method_name(config.method)} asks no teacher: 0 calls"
        )
        return
    known = known_samples(config, keep=False)
    with buying.connect(config, say) as (teacher, description), Cache(config.output.cache) as cache:
        check_teacher(known, description.id)
        order = buying.make_order(config, known.samples, teacher, description, cache, max_calls=max_calls)
        made = plan_purchase(order)
    if as_json:
        print(json.dumps({**made.facts(), **known.facts(), "later_price": made.price_of(known.later)}))
    else:
        show_plan(made, answers)
        say_round(config, known)
        _say_later(known, made)
    made.check()


def fetch(
    config_file: ConfigFile,
    overrides: Overrides = None,
    max_calls: MaxCalls = None,
    yes: Yes = False,
    abandon: Abandon = None,
    as_json: AsJson = False,
) -> None:
    """Buy what is missing into the cache. Interrupted or killed, it goes on where it was and pays nothing twice.

    On a terminal it asks before it spends. Elsewhere it needs --yes or --max-calls where calls have a price
    (teacher.price_per_call). In rounds, buy what is chosen so far: the rest is chosen with students, which
    `run` trains.
    """
    config = load_config(config_file, overrides or ())
    if not config.needs_teacher:
        raise ConfigError(f"method.name: {method_name(config.method)} asks no teacher, so there is nothing to fetch")
    known = known_samples(config, keep=True)
    say_round(config, known)
    made, bought = buy(config, known, abandon=abandon, max_calls=max_calls, yes=yes)
    if as_json:
        print(json.dumps({**made.facts(), **known.facts(), "bought": bought}))
        return
    held = made.wanted - made.left_out
    left = f"; {made.left_out} are still to buy" if made.left_out else ""
    print(f"{held} outputs of teacher {made.teacher_id} are in {shown(config.output.cache)}; {bought} are new{left}")


def reconcile(
    config_file: ConfigFile,
    overrides: Overrides = None,
    shared_key: Annotated[
        bool, typer.Option("--shared-key", help="Others use this API key too: what they asked is no difference.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare what the cache says was bought with what the teacher says was charged, row by row; spends nothing.

    A teacher that keeps no log that can be read is compared by its counter. Exit status 2 when anything differs.
    """
    config = load_config(config_file, overrides or ())
    with buying.connect(config, say) as (teacher, description), Cache(config.output.cache) as cache:
        found = compare_with_teacher(teacher, description, cache, shared_key=shared_key)
    if as_json:
        print(json.dumps(found.facts()))
    else:
        show_reconciliation(found)
    if found.differences:
        samples = sum(row.samples for row in found.differences)
        raise WorkerError(f"reconcile: {samples} samples differ between the cache and what the teacher charged")


def buy(
    config: RunConfig,
    known: Known,
    *,
    abandon: Abandoned | None = None,
    max_calls: int | None = None,
    yes: bool = False,
) -> tuple[Plan, int]:
    """Buy what is missing, after saying the price; the plan and the number of samples bought.

    Where all is held already, nobody is asked.
    """
    samples = known.samples
    with Cache(config.output.cache) as cache:
        if abandon is None and (held := buying.cached_already(config, samples, cache)) is not None:
            made, seen_at = held
            check_teacher(known, made.teacher_id)
            seen = datetime.fromtimestamp(seen_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
            say(f"all {made.wanted} outputs are held; the teacher was not asked (it was last seen on {seen})")
            return made, 0
        with (
            buying.connect(config, say) as (teacher, description),
            progress_bar("buying", tells_remaining=False) as move,
        ):
            started = time.monotonic()

            def progress(done: int, plan: Plan) -> None:
                took = max(time.monotonic() - started, 1e-3)
                left = f"{duration(plan.seconds_left(done, took))} left"
                move(done, f"{done / took:.0f}/s, {left}, {_spent(done, plan)}", plan.outstanding)

            def agree(plan: Plan) -> bool:
                nonlocal started
                check_teacher(known, plan.teacher_id)
                bound = _agree(plan, yes=yes, capped=max_calls is not None)
                started = time.monotonic()
                return bound

            order = buying.make_order(
                config, samples, teacher, description, cache, max_calls=max_calls, abandon=abandon
            )
            callbacks = Callbacks(
                progress=progress,
                on_wait=lambda left: say(f"another worker is buying the last {left} samples; waiting for it"),
                on_end=lambda requests: say(f"ending; the answers of {requests} requests are waited for and kept"),
            )
            return buying.buy(config, samples, order, on_plan=agree, callbacks=callbacks)


def say_round(config: RunConfig, known: Known) -> None:
    """Where a run in rounds is."""
    if config.budget.rounds > 1:
        say(
            f"round {known.rounds} of {config.budget.rounds}: {len(known.samples.chosen)} samples are chosen of "
            f"{config.budget.n} wanted in all; {known.later} are still to be chosen with students"
        )


def _say_later(known: Known, plan: Plan) -> None:
    """What the rounds to come will take, where there are any."""
    if not known.later:
        return
    price = "" if plan.price is None else f", for {money(plan, known.later)} at most"
    say(f"the rounds to come buy {known.later} more, or fewer where some are held{price}")
    if plan.quota is not None and plan.quota.remaining < len(plan.to_buy) + plan.left_out + known.later:
        say(f"the quota does not reach so far: {plan.quota.remaining} calls remain, for this round and those to come")


def bought_targets(config: RunConfig, samples: Samples, plan: Plan) -> dict[str, torch.Tensor]:
    """What was bought, row by row as the samples.

    Raises:
        WorkerError: it was not all bought.
    """
    with Cache(config.output.cache) as cache:
        return load_targets(cache, plan.teacher_id, samples.keys, plan.kinds)


def _agree(plan: Plan, *, yes: bool, capped: bool) -> bool:
    """Say the price; go on only when whoever pays wants to. Whether what was said is the most that may be spent."""
    show_plan(plan)
    plan.check()
    if not plan.most_calls or yes or capped:
        return plan.price is not None
    price = "" if plan.price is None else f" for {money(plan, plan.most_calls)}"
    if is_terminal():
        if not typer.confirm(f"spend {plan.most_calls} calls{price}?", err=True):
            raise PlanRefused("nothing was spent")
        return True
    if price:
        raise PlanRefused(
            f"buying {plan.most_calls} samples{price} needs a word: add --yes, or --max-calls with the most to buy "
            "now. Nothing was spent"
        )
    return False


def is_terminal() -> bool:
    """Whether there is somebody who can be asked."""
    return sys.stdin.isatty() and notes.is_terminal


def _spent(done: int, plan: Plan) -> str:
    """What was begun earlier comes first, and was most likely charged then."""
    charged = max(0, done - plan.reopened_samples)
    spent = f"{done} bought"
    if plan.price_per_call is not None:
        spent += f" ({money(plan, charged)})"
    return spent if plan.quota is None else f"{spent}, {max(0, plan.quota.remaining - charged)} remain"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (plan, fetch, reconcile):
        app.command()(command)
