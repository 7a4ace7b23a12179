"""A run in rounds: choose, buy, train; choose with what was trained; and so on. Most runs have one round.

Every round's student is trained from scratch on all that is bought so far, in a run directory of its own below
`rounds/`; the last one's is the run's. Killed anywhere, the same run goes on from the last choice that is on disk.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from distill_worker.config.run_config import RunConfig
from distill_worker.data.selection import STRATEGIES
from distill_worker.errors import ConfigError, RunError, WorkerError
from distill_worker.runs.candidate_pool import Eligible
from distill_worker.runs.samples import Samples, dataset_of
from distill_worker.runs.saved_selections import Choice, Choices
from distill_worker.runs.train_student import device_of
from shared.weights import WeightsError, load_weights

Bought = tuple[Mapping[str, Tensor], str | None]
"""Outputs by kind, row by row as `samples.keys`, and whose they are."""


@dataclass(frozen=True)
class Known:
    """What is chosen so far."""

    samples: Samples
    rounds: int
    """How many rounds these are."""
    later: int
    """How many samples the rounds to come will choose."""
    teacher_id: str | None
    """Whose outputs the last choice rests on."""

    def facts(self) -> dict[str, Any]:
        """JSON-able: how many rounds are chosen, and how many samples are not yet."""
        return {"rounds_chosen": self.rounds, "later": self.later}


def known_samples(config: RunConfig, *, keep: bool) -> Known:
    """What is chosen so far; the first round's samples, if nothing is.

    Args:
        config: the run.
        keep: write a first choice down, as it must be before anything is bought.

    Raises:
        DataError, ConfigError: see `Samples`; RunError: see `Choices`.
    """
    eligible = Eligible.of(dataset_of(config), config)
    return _known(config, eligible, _so_far(config, eligible, keep=keep))


def all_samples(config: RunConfig) -> Samples:
    """The samples of all rounds.

    Raises:
        ConfigError: some rounds are still to come.
    """
    known = known_samples(config, keep=True)
    if known.later:
        raise ConfigError(
            f"budget.rounds: {known.rounds} of {config.budget.rounds} rounds are chosen; the next ones are chosen with "
            "students, and bought: distill-worker run"
        )
    return known.samples


def run_in_rounds(
    config: RunConfig,
    *,
    buy: Callable[[Known], Bought],
    train: Callable[[RunConfig, Samples, Bought], dict[str, Any]],
) -> dict[str, Any]:
    """Buy and train round after round; the last training's result.

    Raises:
        WorkerError: whatever `buy` and `train` raise, and as `known_samples`.
    """
    eligible = Eligible.of(dataset_of(config), config)
    choices = _so_far(config, eligible, keep=True)
    while True:
        known = _known(config, eligible, choices)
        bought = buy(known)
        here = config if known.rounds == config.budget.rounds else _round_of(config, known)
        result = train(here, known.samples, bought)
        if here is config:
            return result
        choices = _next(config, eligible, choices, here, bought[1])


def check_teacher(known: Known, teacher_id: str) -> None:
    """Refuse to buy further rounds of another teacher than the first: their outputs would not be of one kind.

    Raises:
        RunError: it is another.
    """
    if known.teacher_id not in (None, teacher_id):
        raise RunError(
            f"teacher: the samples so far were bought of {known.teacher_id}, and now {teacher_id} answers; nothing was "
            "spent. Go on with the first, or choose another output.directory"
        )


def _known(config: RunConfig, eligible: Eligible, choices: Sequence[Choice]) -> Known:
    keys = [key for choice in choices for key in choice.sample_keys]
    samples = Samples.chosen_of(eligible, config, keys)
    return Known(samples, len(choices), eligible.n - len(keys), choices[-1].teacher_id)


def _so_far(config: RunConfig, eligible: Eligible, *, keep: bool) -> list[Choice]:
    """The choices on disk, or else the first one."""
    budget, choices = config.budget, Choices.in_run(config)
    # What hashes alone decide needs no writing down: they decide the same for ever.
    keeps = budget.rounds > 1 or STRATEGIES[budget.strategy].is_computed
    if keeps and (found := choices.read()):
        return found
    if not (keeps and keep):
        return [_first(eligible, choices)]
    with choices.alone():
        found = choices.read()
        if not found:
            found = [_first(eligible, choices)]
            choices.write(found[0])
    return found


def _first(eligible: Eligible, choices: Choices) -> Choice:
    budget = eligible.budget
    return Choice(
        round=1,
        strategy=budget.strategy if budget.rounds == 1 else budget.first,
        seed=budget.seed,
        of=dict(choices.identity.values),
        keys=tuple(key.hex() for key in eligible.first()),
    )


def _next(
    config: RunConfig, eligible: Eligible, so_far: Sequence[Choice], here: RunConfig, teacher_id: str | None
) -> list[Choice]:
    """The choices so far and the next one, made with the student that was trained `here`."""
    choices, number = Choices.in_run(config), len(so_far) + 1
    with choices.alone():
        found = choices.read()
        if len(found) >= number:
            return found
        try:
            # The configuration named its network, and the code behind the name has just run.
            card, network, fingerprint = load_weights(here.output.directory / "student.safetensors", trust_code=True)
        except WeightsError as error:
            raise WorkerError(str(error)) from error
        student = (card, network.to(device_of(config.training.device)))
        taken = [key for choice in found for key in choice.sample_keys]
        keys = eligible.further(config.budget.sizes[number - 1], taken, student)
        choice = Choice(
            round=number,
            strategy=config.budget.strategy,
            seed=config.budget.seed,
            student=fingerprint,
            teacher_id=teacher_id,
            of=dict(choices.identity.values),
            keys=tuple(key.hex() for key in keys),
        )
        choices.write(choice)
    return [*found, choice]


def _round_of(config: RunConfig, known: Known) -> RunConfig:
    """The training of a round before the last: a run on what is bought so far, in a directory of its own."""
    budget = config.budget.model_copy(update={"n": len(known.samples.chosen)})
    folder = config.output.directory / "rounds" / f"{known.rounds:04}"
    output = config.output.model_copy(update={"directory": folder})
    return config.model_copy(update={"budget": budget, "output": output})
