"""What `train` and `run` do: train one student, on cached outputs or on outputs that are bought first."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from distill_worker.cache import Cache
from distill_worker.cli.actions import agreed_purchase
from distill_worker.cli.console import be_silent, progress_bar, say
from distill_worker.cli.stated_run import StatedRun
from distill_worker.config.run_config import RunConfig
from distill_worker.data.selection import STRATEGIES
from distill_worker.errors import counted
from distill_worker.experiments.failure_signs.of_run import rise_in, signs_of_answers, signs_of_training
from distill_worker.methods import method_name
from distill_worker.runs import classes, preflight
from distill_worker.runs.fidelity.measure import notes as notes_of_fidelity
from distill_worker.runs.purchase import configured_teacher
from distill_worker.runs.resolution import note_of
from distill_worker.runs.rounds import SelectedSamples, all_samples, run_in_rounds
from distill_worker.runs.run_facts import notes_of_weights
from distill_worker.runs.sampling.held_samples import HeldSamples, check_complete, held_samples
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.sampling.targets import NOTHING_BOUGHT, Bought, find_bought, load_bought
from distill_worker.runs.self_training.stage import notes
from distill_worker.runs.train_student import begun, total_steps, train_student
from distill_worker.runs.tuning import automatic
from distill_worker.training.ranks.group import ALONE, Ranks, opened


class Ended(NamedTuple):
    """A finished run."""

    config: RunConfig
    result: dict[str, Any]
    samples: Samples
    bought: Bought
    paid: int
    """Samples that were bought now."""


def train(stated: StatedRun, *, teacher_id: str | None, held: bool, fresh: bool, as_json: bool) -> None:
    """Train a student on cached outputs, without a teacher; with the other ranks, if torchrun started several."""
    with opened() as ranks:
        if not ranks.is_first:
            be_silent()
        with ranks.first_before_others():
            config = stated.config(fresh=fresh, teacher_id=teacher_id, asks=False)
        ended = train_on_cached(config, teacher_id=teacher_id, held=held, fresh=fresh, ranks=ranks)
    if ranks.is_first:
        options = [*(["--teacher-id", teacher_id] if teacher_id else []), *(["--held"] if held else [])]
        _end(ended, as_json=as_json, command=stated.command("train", *options))


def run(
    stated: StatedRun,
    *,
    max_calls: int | None,
    yes: bool,
    everything: bool,
    fresh: bool,
    as_json: bool,
) -> None:
    """Plan, buy what is not cached, train and evaluate, in as many rounds as the configuration says."""
    config = stated.config(fresh=fresh)
    consent = agreed_purchase.Consent.to(config, yes=yes, max_calls=max_calls, everything=everything)
    command = stated.command("run", *(["--all"] if everything else []))
    _end(buy_and_train(config, consent, fresh=fresh), as_json=as_json, command=command)


def train_on_cached(
    config: RunConfig, *, teacher_id: str | None, held: bool = False, fresh: bool = False, ranks: Ranks = ALONE
) -> Ended:
    """Train the student of a resolved run on cached outputs. No request is sent."""
    say(note_of(config.training))
    with ranks.first_before_others():  # it may write a selection, which the others then read
        config, samples, bought = _loaded(config, teacher_id=teacher_id, held=held)
    _say_auto(config, samples)
    _check(config, samples, bought, fresh=fresh, ranks=ranks)
    return Ended(config, _train(config, samples, bought, fresh=fresh, ranks=ranks), samples, bought, paid=0)


def buy_and_train(config: RunConfig, consent: agreed_purchase.Consent, *, fresh: bool = False) -> Ended:
    """Buy what a resolved run lacks, as far as the user agrees, and train its student, in as many rounds as it has."""
    say(note_of(config.training))
    bought_now, is_first = 0, True
    last: tuple[Samples, Bought]

    def buy(selected: SelectedSamples) -> Bought:
        nonlocal consent, bought_now, is_first
        checked_run = preflight.Run(config, lambda: selected, trains=True, fresh=fresh)
        preflight.check_run(checked_run)
        if is_first:
            _say_auto(config, selected.samples)
            is_first = False
        agreed_purchase.say_round(config, selected)
        if not config.needs_teacher:
            preflight.check_lesson(preflight.Lesson(checked_run, {}, None))
            agreed_purchase.say_notes(config, selected.samples, None)
            return NOTHING_BOUGHT
        made, bought = agreed_purchase.buy(checked_run, consent)
        bought_now += bought
        check_complete(made, bought_now)
        consent = consent.after(made, bought, is_counted=config.budget.n is not None)
        with Cache(config.output.cache) as cache:
            return load_bought(cache, config, selected.samples, made.teacher_id, made.kinds)

    def train(round_config: RunConfig, samples: Samples, bought: Bought) -> dict[str, Any]:
        nonlocal last
        last = (samples, bought)
        return _train(round_config, samples, bought, fresh=fresh)

    result = run_in_rounds(config, buy=buy, train=train)
    return Ended(config, result, *last, paid=bought_now)


def finish(ended: Ended, *, command: str) -> list[str]:
    """Say what is wrong with a finished run, and write its page; the warnings."""
    config, samples = ended.config, ended.samples
    doubts, signs = _warnings(ended)
    for line in signs:
        say(f"warning: {line}")
    if config.output.report:
        from distill_worker.cli.actions.experiments import write_run_page

        write_run_page(config, samples, command=command, paid=ended.paid, warnings=[*doubts, *signs])
    return [*doubts, *signs]


def _loaded(config: RunConfig, *, teacher_id: str | None, held: bool) -> tuple[RunConfig, Samples, Bought]:
    """The run, its samples, and the outputs that are bought for them."""
    bought, names = NOTHING_BOUGHT, None
    if held:
        with Cache(config.output.cache, if_absent="error") as cache:
            part = held_samples(config, cache, teacher_id)
        config, samples, teacher_id = part.config, part.samples, part.teacher_id
        _say_held(part)
    else:
        samples = all_samples(config)
    if config.needs_teacher:
        with Cache(config.output.cache, if_absent="error") as cache:
            output = config.teacher.output
            teacher_id = teacher_id or configured_teacher(config, samples, cache)
            owner, kinds = find_bought(cache, samples.bought_keys, teacher_id, config.teacher_kinds, output)
            bought = load_bought(cache, config, samples, owner, kinds)
            names = cache.class_names(owner)
    agreed_purchase.say_notes(config, samples, names)
    return config, samples, bought


def _check(config: RunConfig, samples: Samples, bought: Bought, *, fresh: bool, ranks: Ranks) -> None:
    """Check everything but the teacher, which is not contacted."""
    selected = SelectedSamples(samples, rounds=config.budget.rounds, later=0, teacher_id=bought.teacher_id)
    checked_run = preflight.Run(config, lambda: selected, trains=True, fresh=fresh, ranks=ranks.size)
    preflight.check_run(checked_run)
    shapes = {kind: outputs.shape[1:] for kind, outputs in bought.targets.items()}
    preflight.check_lesson(preflight.Lesson(checked_run, shapes, bought.teacher_id, bought.class_order))


def _say_auto(config: RunConfig, samples: Samples) -> None:
    for line in automatic.notes(config, samples):
        say(line)


def _say_held(part: HeldSamples) -> None:
    n = len(part.samples.chosen)
    others = "" if part.are_first else f"; with budget.n = {n} alone, the run may select others"
    say(f"training on {n} of {counted(part.wanted, 'sample')}, those in the cache{others}")


def _train(config: RunConfig, samples: Samples, bought: Bought, *, fresh: bool, ranks: Ranks = ALONE) -> dict[str, Any]:
    budget = config.training.budget
    config = begun(config, samples, bought.targets, bought.class_order, fresh=fresh, ranks=ranks.size)
    if budget is not None:
        say(f"training.budget = {budget!r} allows {config.training.steps:,} steps a training")
    doubts = classes.doubts(config, samples, bought.targets, bought.class_order)
    weights = notes_of_weights(config, samples.dataset)
    for line in (*doubts, *weights, *notes_of_fidelity(config, samples), *notes(config, samples)):
        say(line)
    with progress_bar(f"training {method_name(config.method)}", total_steps(config, len(samples.images))) as move:
        return train_student(
            config,
            samples,
            *bought,
            progress=lambda step, loss: move(step, f"loss {loss:.4f}"),
            fresh=fresh,
            note=say,
            on_choice=say,
            ranks=ranks,
        )


def _end(ended: Ended, *, as_json: bool, command: str) -> None:
    """Print the result, say what is wrong with it, and write the page."""
    doubts, signs = _warnings(ended)
    _print_result(ended.config, ended.result, [*doubts, *signs], as_json=as_json)
    finish(ended, command=command)


def _warnings(ended: Ended) -> tuple[list[str], list[str]]:
    """Doubts about the teacher, and signs of a failed training."""
    config, result, samples, bought, _ = ended
    doubts = classes.doubts(config, samples, bought.targets, bought.class_order)
    return doubts, _signs(config, result, samples, bought, is_doubted=bool(doubts))


def _signs(
    config: RunConfig, result: dict[str, Any], samples: Samples, bought: Bought, *, is_doubted: bool
) -> list[str]:
    """The signs of failure that a finished run shows. Doubts about its teacher explain those in the answers already."""
    signs = signs_of_training(rise_in(config.output.directory))
    counts = None if is_doubted else classes.counts_of(config, samples, bought.targets, bought.class_order)
    if counts is not None:
        are_typical = set(STRATEGIES[config.budget.strategy].needs) <= {"labels"}
        signs += signs_of_answers(counts, result["accuracy"], are_typical=are_typical)
    return signs


def _print_result(config: RunConfig, result: dict[str, Any], warnings: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**result, "directory": str(config.output.directory), "warnings": list(warnings)}))
        return
    print(
        f"{result['method']} {result['network']} on {result['data']}, track {config.data_used}, n = {result['n']}, "
        f"seed {result['seed']}: {_quality(result)}, in {config.output.directory}"
    )


def _quality(result: Mapping[str, Any]) -> str:
    """How good the student is, as far as it was measured."""
    parts = []
    if result["accuracy"] is not None:
        parts.append(f"accuracy {result['accuracy']:.2%} ({result['correct']} of {result['test_samples']})")
    if (fidelity := result.get("fidelity")) is not None:
        low, high = fidelity["agreement_interval"]
        parts.append(
            f"agrees with its teacher on {fidelity['agreement']:.1%} of "
            f"{counted(fidelity['samples'], 'bought sample')}, {fidelity['measured_on']} "
            f"(95 % interval {low:.1%} to {high:.1%}), KL {fidelity['kl']:.3f} nats"
        )
    return "; ".join(parts) or "quality not measured: no test images have labels, and no samples were held out"
