"""One purchase from the command line: show the price, get consent to it, buy, and show the progress."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import typer

from distill_worker.buying.fetch import Callbacks
from distill_worker.buying.order import Abandoned
from distill_worker.buying.plan import Plan
from distill_worker.cache import Cache
from distill_worker.cli.console import notes, progress_bar, say
from distill_worker.cli.tables.buying import duration, money, show_plan
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError, PlanRefused, counted
from distill_worker.runs import classes, preflight, purchase
from distill_worker.runs.rounds import SelectedSamples
from distill_worker.runs.sampling.held_samples import advised
from distill_worker.runs.sampling.samples import Samples
from shared.times import to_minute


@dataclass(frozen=True)
class Consent:
    """What the options of the command line, or the arguments of a call, agree to spend."""

    yes: bool = False
    max_calls: int | None = None
    everything: bool = False
    """Whether the whole training set may be bought where `budget.n` is not set."""
    later: int = 0
    """The calls of later rounds that an earlier purchase of this command included in its question."""
    asks: bool = True
    """Whether a question may be put on a terminal; a call from Python puts none."""

    @classmethod
    def to(cls, config: RunConfig, *, yes: bool, max_calls: int | None, everything: bool) -> "Consent":
        """Consent to the purchase of a run. Raises `ConfigError` if both n and everything are given."""
        if everything and config.budget.n is not None:
            raise ConfigError(
                f"--all: expected no budget.n beside it, got {config.budget.n}; leave out the one or the other"
            )
        return cls(yes, max_calls, everything)

    def after(self, plan: Plan, bought: int, *, is_counted: bool) -> "Consent":
        """What is left of this consent after a purchase by this plan; a question about it included later rounds."""
        left = None if self.max_calls is None else max(0, self.max_calls - bought)
        is_asked = not self.is_stated(is_counted=is_counted) and plan.most_calls > self.later and self.can_ask
        return replace(self, max_calls=left, later=plan.later if is_asked else max(0, self.later - bought))

    def is_stated(self, *, is_counted: bool) -> bool:
        """Whether the options agree to a purchase. `is_counted`: the configuration says how many samples to buy."""
        return self.max_calls is not None or (self.yes and (is_counted or self.everything))

    @property
    def can_ask(self) -> bool:
        """Whether a user can answer a question now."""
        return self.asks and is_terminal()


def buy(run: preflight.Run, consent: Consent, *, abandon: Abandoned | None = None) -> tuple[Plan, int]:
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
            say_notes(config, samples, description.class_names)
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

            def on_plan(plan: Plan) -> bool:
                nonlocal started
                plan = advised(plan, config, run.selected)
                bound = agree(
                    plan, consent, source=purchase.Source.of(config.teacher), is_counted=config.budget.n is not None
                )
                started = time.monotonic()
                return bound

            preflight.check_sale(run, description, cache)
            say_notes(config, samples, description.class_names)
            order = purchase.make_order(
                config, samples, teacher, description, cache, max_calls=consent.max_calls, abandon=abandon
            )
            callbacks = Callbacks(
                progress=progress,
                on_wait=lambda left: say(f"waiting for another worker, which is buying {counted(left, 'sample')}"),
                on_end=lambda requests: say(f"ending; waiting for {counted(requests, 'answer')} to cache"),
                on_answer=classes.judge(config, [samples], description, cache, order.kinds),
            )
            images = samples.images_by_key()
            made, bought = purchase.buy(
                [order], images, address=config.resolved_teacher, on_plan=on_plan, callbacks=callbacks
            )
            return advised(made, config, run.selected), bought


def say_notes(config: RunConfig, samples: Samples, class_names: Sequence[str] | None) -> None:
    """Print how the data were read, and whether classes are mapped to those that the teacher states."""
    for line in classes.notes(config, samples.dataset, class_names):
        say(line)


def say_round(config: RunConfig, selected: SelectedSamples) -> None:
    """Print the round of a run in rounds."""
    if config.budget.rounds > 1:
        samples, others = selected.samples, ""
        held_out = samples.n - len(samples.chosen)
        if selected.later:
            others = f"; the students of later rounds choose the other {selected.later}"
        say(
            f"round {selected.rounds} of {config.budget.rounds}: {len(samples.chosen)} of {config.budget.n} samples "
            f"are chosen{f', and {held_out} are held out' if held_out else ''}{others}"
        )


def say_later(plan: Plan) -> None:
    """Print what later rounds will buy, if there are any."""
    if plan.later:
        price = "" if plan.price is None else f", for at most {money(plan, plan.later)}"
        say(f"later rounds buy {plan.later} more, or fewer if some are cached{price}")


def is_terminal() -> bool:
    """Whether a user can answer a question."""
    return sys.stdin.isatty() and notes.is_terminal


def agree(plan: Plan, consent: Consent, *, source: purchase.Source | None, is_counted: bool) -> bool:
    """Show the price and get the user's consent to it; whether no more than this price may be spent.

    Args:
        plan: the whole purchase.
        consent: what the options agree to.
        source: who is paid; None for the own teacher of a comparison.
        is_counted: whether the configuration says how many samples to buy.

    Raises:
        PlanRefused: the quota cannot pay, or the user did not agree.
    """
    return agree_to_all([(plan, source)], consent, is_counted=is_counted)


def agree_to_all(
    plans: Sequence[tuple[Plan, purchase.Source | None]],
    consent: Consent,
    *,
    is_counted: bool = True,
    is_for_later: bool = False,
) -> bool:
    """Show the prices of purchases and get the user's consent to all of them at once; otherwise as `agree`.

    No other function asks for consent.

    Args:
        plans: each with who is paid.
        consent: what the options agree to.
        is_counted: whether the configuration says how many samples to buy.
        is_for_later: whether no later round will ask, so that one is agreed to although nothing is bought now.
    """
    for plan, source in plans:
        show_plan(plan, source)
        say_later(plan)
        preflight.check_plan(plan)
    first = plans[0][0]
    most_calls = sum(plan.most_calls for plan, _ in plans)
    has_price = any(plan.price is not None for plan, _ in plans)
    if len(plans) > 1:
        say(f"in all: {counted(most_calls, 'call')}{_price(plans)}")
    if consent.is_stated(is_counted=is_counted):
        return has_price
    in_later_rounds = sum(plan.later for plan, _ in plans)
    if most_calls + (in_later_rounds if is_for_later else 0) <= consent.later:
        # Nothing to ask. What other workers leave unbought would need an answer, or have it for so many calls only.
        return has_price or consent.can_ask or not is_counted
    calls, price = counted(most_calls, "call"), _price(plans)
    later = f" now, and up to {in_later_rounds} more in later rounds" if in_later_rounds else ""
    if consent.can_ask:
        whole = "" if is_counted else ", the whole training set, because budget.n is not set"
        _ask(f"spend {calls}{price}{whole}{later}?", first.advice.spent)
        return True
    if not is_counted:
        raise PlanRefused(
            f"budget.n: expected the number of samples to buy, got none, which means {calls}{price}. Set budget.n or "
            "--n, buy a part with --max-calls, or buy the whole training set with --all --yes. Nothing was spent"
        )
    may_be_held = any(plan.may_be_held for plan, _ in plans)
    if price or may_be_held:
        maybe = ", some of them maybe for outputs that are in the cache" if may_be_held else ""
        raise PlanRefused(
            f"expected --yes, or --max-calls with the most samples to buy now, before {calls} can be spent{price} "
            f"without a terminal{later if is_for_later else ''}{maybe}. {first.advice.spent}"
        )
    return False


def _price(plans: Sequence[tuple[Plan, purchase.Source | None]]) -> str:
    """What purchases cost at most, as the end of a sentence; empty without a price."""
    amounts: dict[tuple[float, str], int] = {}
    priced = {}
    for plan, _ in plans:
        if plan.price_per_call is not None:
            terms = (plan.price_per_call, plan.currency)
            amounts[terms] = amounts.get(terms, 0) + plan.most_calls
            priced[terms] = plan
    return f" for {' and '.join(money(priced[terms], calls) for terms, calls in amounts.items())}" if amounts else ""


def _ask(question: str, spent: str) -> None:
    """Ask on standard error. An interrupt, or the end of the input, ends the command as any interrupt does."""
    spent = spent[0].lower() + spent[1:]
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        say(spent)
        raise KeyboardInterrupt from None
    if not agreed:
        raise PlanRefused(spent)


def _spent(done: int, plan: Plan) -> str:
    """The progress so far; open purchases are repeated first, and were most likely charged before."""
    charged = max(0, done - plan.reopened_samples)
    spent = f"{done} bought"
    if plan.price_per_call is not None:
        spent += f" ({money(plan, charged)})"
    return spent if plan.quota is None else f"{spent}, {max(0, plan.quota.remaining - charged)} remain"
