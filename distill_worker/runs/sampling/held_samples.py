"""The part of a run that is bought so far, as a run of its own: its n is the number of samples in the cache."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from distill_worker.buying.plan import LOWER_N, Advice, Plan
from distill_worker.cache import Cache
from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.config.stages.automatic import hint_for_one_round
from distill_worker.data.selection import STRATEGIES
from distill_worker.errors import CacheError, ConfigError, PlanRefused, counted
from distill_worker.methods import method_name
from distill_worker.runs.purchase import configured_teacher
from distill_worker.runs.rounds import SelectedSamples, selected_samples
from distill_worker.runs.sampling.candidate_pool import CandidatePool
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.sampling.targets import find_held


@dataclass(frozen=True)
class HeldSamples:
    """The samples of a run whose outputs are in the cache."""

    config: RunConfig
    """The run, with the number of held samples as `budget.n`."""
    samples: Samples
    teacher_id: str
    wanted: int
    """Samples of the whole run."""
    are_first: bool
    """Whether they are the samples that `budget.n` alone would select. If not, some earlier samples are missing, or
    the strategy is not nested."""


def held_samples(config: RunConfig, cache: Cache, teacher_id: str | None = None) -> HeldSamples:
    """The samples of a run that are in the cache, in one round and without bought mixtures.

    Validation samples of the smaller run are left out. Some may be in the cache if an earlier version, which bought in
    another order, bought them.

    Raises:
        ConfigError: the run has no such part: it uses no teacher, buys in rounds, or buys
            mixtures. Or there are samples of several teachers, and neither `teacher_id` nor the configuration
            names one.
        CacheError: fewer than 2 samples are in the cache.
    """
    _check_has_parts(config)
    samples = selected_samples(config, keep=False).samples
    keys = list(samples.wanted)
    teacher_id = teacher_id or configured_teacher(config, samples, cache)
    owner, held = find_held(cache, keys, teacher_id, config.teacher_kinds, config.teacher.output)
    pool = CandidatePool.of(samples.dataset, config)
    in_order = [samples.chosen[row] for row in samples.ranked_rows if samples.keys[row] in held]
    positions = _without_validation(pool, in_order)
    if len(positions) < 2:
        raise CacheError(
            f"--held: expected at least 2 of {counted(len(keys), 'sample')} in the cache, got {len(positions)}. Buy "
            "more: distill-worker fetch"
        )
    held_out = 0 if samples.held_out is None or set(samples.held_out.keys) - held else len(samples.held_out.keys)
    part = _with_n(config, len(positions), held_out)
    chosen = [pool.key_of[position] for position in positions]
    of_part = replace(_pool_of(pool, len(positions)), held_out=pool.held_out if held_out else [])
    return HeldSamples(
        part,
        Samples.chosen_of(of_part, part, chosen),
        owner,
        wanted=len(keys),
        are_first=_is_nested(config)
        and positions == [samples.chosen[row] for row in samples.ranked_rows[: len(positions)]],
    )


def advised(plan: Plan, config: RunConfig, selected: SelectedSamples) -> Plan:
    """The plan with its later rounds, and with what helps in this run if the quota is too small."""
    in_rounds, has_mixtures = config.budget.rounds > 1, config.buys_mixtures
    is_later_round = selected.rounds > 1
    lower = LOWER_N if config.budget.n is not None else "set budget.n"
    if is_later_round:
        lower = ""
    elif has_mixtures:
        lower = "lower method.mixtures or n"
    advice = Advice(
        lower=lower,
        is_nested=_is_nested(config) and not in_rounds,
        part_is_usable=not in_rounds and not has_mixtures,
        spent="Nothing was spent in this round" if is_later_round else "Nothing was spent",
    )
    return replace(plan, advice=advice, later=selected.later)


def check_complete(plan: Plan, bought: int) -> None:
    """Raise `PlanRefused` if `--max-calls` left samples of a purchase for later, so that nothing can be trained.

    `bought` is what the command bought so far, in earlier rounds too.
    """
    if plan.left_out:
        not_cached = plan.left_out + plan.elsewhere + plan.uncertain + len(plan.blocked)
        held = "; or train on those in the cache: distill-worker train --held" if plan.advice.part_is_usable else ""
        raise PlanRefused(
            f"--max-calls: expected all {counted(plan.wanted, 'output')} in the cache before a student is trained, got "
            f"{plan.wanted - not_cached}; {bought} were bought now. Run the same command again to buy the next ones"
            f"{held}"
        )


def _check_has_parts(config: RunConfig) -> None:
    if not config.needs_teacher:
        raise ConfigError(
            f"--held: expected a method with a teacher, got {method_name(config.method)}; leave --held out"
        )
    if config.budget.rounds > 1:
        raise ConfigError(
            f"--held: expected budget.rounds = 1, got {config.budget.rounds}. In rounds, `distill-worker run` trains a "
            f"student on the samples of each round{hint_for_one_round(config.chosen_by_auto)}"
        )
    if config.buys_mixtures:
        raise ConfigError(
            "--held: expected a method without bought mixtures, because other samples have other mixtures, got "
            f"{method_name(config.method)}. Use targets = 'stored', or buy the rest: distill-worker fetch"
        )


def _without_validation(pool: CandidatePool, in_order: Sequence[int]) -> list[int]:
    """The longest part of these positions that shares no sample with the validation samples of a run on it."""
    for n in range(len(in_order), 0, -1):
        validation = set(_pool_of(pool, n).validation)
        positions = [position for position in in_order if position not in validation]
        if len(positions) >= n:
            return positions[:n]
    return []


def _pool_of(pool: CandidatePool, n: int) -> CandidatePool:
    return replace(pool, budget=pool.budget.model_copy(update={"n": n}))


def _with_n(config: RunConfig, trained: int, held_out: int) -> RunConfig:
    """The run on so many samples, and others that are held out."""
    document, n = config.model_dump(mode="json"), trained + held_out
    holdout = {} if config.data.has_labels and config.budget.holdout is None else {"holdout": held_out}
    budget = {**document["budget"], "n": n, **holdout}
    return parse_config({**document, "budget": budget}, source=f"--held (budget.n = {n})")


def _is_nested(config: RunConfig) -> bool:
    """Whether a smaller n selects the first of these samples; with validation samples, only random does."""
    strategy = config.budget.strategy
    if strategy == "random":
        return True
    return STRATEGIES[strategy].nested == "yes" and not config.training.validated_share
