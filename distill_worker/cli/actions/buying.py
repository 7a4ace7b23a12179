"""What `plan`, `fetch` and `reconcile` do: show a price, spend it, check the bill."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from distill_worker.buying.order import Abandoned
from distill_worker.buying.plan import Plan
from distill_worker.buying.planning import plan as plan_purchase
from distill_worker.buying.reconciliation.reconcile import reconcile as compare_with_teacher
from distill_worker.cache import Cache
from distill_worker.cache.database.engine import shown
from distill_worker.cli.actions import agreed_purchase
from distill_worker.cli.console import answers, say
from distill_worker.cli.stated_run import StatedRun
from distill_worker.cli.tables.buying import show_plan, show_reconciliation
from distill_worker.config.load import load_config
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import CheckFailed, ConfigError, TeacherUnavailable, WorkerError, counted
from distill_worker.methods import method_name
from distill_worker.runs import preflight, purchase
from distill_worker.runs.resolution import note_of
from distill_worker.runs.rounds import SelectedSamples, selected_samples
from distill_worker.runs.sampling.held_samples import advised
from distill_worker.runs.sampling.targets import count_held


def plan(stated: StatedRun, *, max_calls: int | None, as_json: bool) -> None:
    """Show what a run would cost. Raises what the purchase would raise, after the price; all else is printed."""
    config = stated.config()
    if not config.needs_teacher:
        name = method_name(config.method)
        print(json.dumps({"wanted": 0, "to_buy": 0}) if as_json else f"{name} uses no teacher: 0 calls")
        return
    say(note_of(config.training))
    problems: list[WorkerError] = []
    planned_run = preflight.Run(config, lambda: selected_samples(config, keep=False))
    preflight.check_run(planned_run, problems.append)
    selected = planned_run.selected
    try:
        with (
            purchase.connect(config, say) as (teacher, description),
            Cache(config.output.cache, if_absent="empty") as cache,
        ):
            if cache.is_absent:
                say(f"no cache at {cache.place}: nothing is bought yet; fetch creates it")
            preflight.check_sale(planned_run, description, cache, problems.append)
            agreed_purchase.say_notes(config, selected.samples, description.class_names)
            cache.save_class_names(description.id, description.class_names)
            order = purchase.make_order(config, selected.samples, teacher, description, cache, max_calls=max_calls)
            made = advised(plan_purchase(order), config, selected)
            preflight.check_plan(made, problems.append)
    except TeacherUnavailable:
        _show_without_teacher(selected, config, as_json=as_json)
        _say_problems(problems)
        raise
    except WorkerError as error:
        _end_with([*problems, error])
    source = purchase.Source.of(config.teacher)
    if as_json:
        facts = {**made.facts(), **source.facts(), **selected.facts(), "later_price": made.price_of(made.later)}
        print(json.dumps(facts))
    else:
        show_plan(made, source, answers)
        if config.budget.n is None:
            say("budget.n is not set: this is the whole training set, which needs --max-calls or --all to be bought")
        agreed_purchase.say_round(config, selected)
        agreed_purchase.say_later(made)
    if problems:
        _end_with(problems)


def fetch(
    stated: StatedRun,
    *,
    max_calls: int | None,
    yes: bool,
    everything: bool,
    abandon: Abandoned | None,
    as_json: bool,
) -> None:
    """Buy what is not cached."""
    config = stated.config()
    consent = agreed_purchase.Consent.to(config, yes=yes, max_calls=max_calls, everything=everything)
    if not config.needs_teacher:
        raise ConfigError(f"method.name: {method_name(config.method)} uses no teacher, so there is nothing to fetch")
    say(note_of(config.training))
    checked_run = preflight.Run(config, lambda: selected_samples(config, keep=True))
    preflight.check_run(checked_run)
    selected = checked_run.selected
    agreed_purchase.say_round(config, selected)
    made, bought = agreed_purchase.buy(checked_run, consent, abandon=abandon)
    if as_json:
        source = purchase.Source.of(config.teacher)
        print(json.dumps({**made.facts(), **source.facts(), **selected.facts(), "bought": bought}))
        return
    cached = _count_cached(config, made)
    left = f"; {made.left_out} to buy later" if made.left_out else ""
    print(
        f"{counted(cached, 'output')} of teacher {made.teacher_id} cached in {shown(config.output.cache)}, "
        f"{bought} bought now{left}"
    )
    if selected.later:
        say(f"next: distill-worker run trains a student, which selects the other {selected.later}, and buys them")


def reconcile(config_file: Path, overrides: Sequence[str], *, shared_key: bool, as_json: bool) -> None:
    """Compare each purchase in the cache with what the teacher charged. Raises `CheckFailed` if they differ."""
    config = load_config(config_file, overrides, on_note=say)
    with (
        Cache(config.output.cache, if_absent="error") as cache,
        purchase.connect(config, say) as (teacher, description),
    ):
        result = compare_with_teacher(teacher, description, cache, shared_key=shared_key)
    if as_json:
        print(json.dumps(result.facts()))
    else:
        show_reconciliation(result)
    if result.differences:
        samples = counted(sum(row.samples for row in result.differences), "sample")
        raise CheckFailed(f"reconcile: the cache and what the teacher charged differ in {samples}; see the table")


def _count_cached(config: RunConfig, made: Plan) -> int:
    """How many samples of a purchase have all their outputs in the cache."""
    with Cache(config.output.cache) as cache:
        held = [cache.holdings(cache.stream(made.teacher_id, kind)) for kind in made.kinds]
    return sum(all(key in rows for rows in held) for key in made.samples)


def _end_with(problems: Sequence[WorkerError]) -> NoReturn:
    """Print all problems but the first, and raise that."""
    _say_problems([problem for problem in problems if str(problem) != str(problems[0])])
    raise problems[0]


def _say_problems(problems: Sequence[WorkerError]) -> None:
    """Print what else would end a purchase."""
    for problem in dict.fromkeys(map(str, problems)):
        say(f"error: {problem}")


def _show_without_teacher(selected: SelectedSamples, config: RunConfig, *, as_json: bool) -> None:
    """Print what the data set and the cache say about a purchase whose teacher cannot be reached."""
    keys, place = selected.samples.bought_keys, config.output.cache
    with Cache(place, if_absent="empty") as cache:
        held = count_held(cache, keys, config.teacher_kinds, config.teacher.output)
    if as_json:
        print(json.dumps({"wanted": len(keys), "cached_by_teacher": held}))
        return
    cached = ", ".join(f"{samples} of teacher {owner}" for owner, samples in held.items()) or "0"
    print(f"wanted: {len(keys)}; cached in {shown(place)}: {cached}")
