"""A run in rounds: select, buy, train; select with the trained student; and so on. Most runs have one round.

Each round trains a student from scratch on everything bought so far, in a run directory of its own below `rounds/`. The
last round's student is the run's student. A killed run resumes from the last selection on disk.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from distill_worker.config.run_config import RunConfig
from distill_worker.config.stages.automatic import hint_for_one_round
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.data.selection import STRATEGIES
from distill_worker.errors import ConfigError, RunError, WeightsFileError
from distill_worker.runs.resolution import device_of, resolved
from distill_worker.runs.sampling.candidate_pool import CandidatePool
from distill_worker.runs.sampling.samples import Samples, dataset_of
from distill_worker.runs.sampling.saved_selections import SavedSelection, SavedSelections
from distill_worker.runs.sampling.targets import Bought
from distill_worker.runs.self_training.members import config_of_member
from distill_worker.runs.tuning.pace import seconds_of_selection
from distill_worker.training.directory.run_directory import ELSEWHERE, RunDirectory
from shared.weights import WeightsError, load_weights


@dataclass(frozen=True)
class SelectedSamples:
    """The samples of all rounds that are selected so far."""

    samples: Samples
    rounds: int
    """How many rounds are selected."""
    later: int
    """How many samples the remaining rounds will select."""
    teacher_id: str | None
    """The teacher whose outputs trained the student of the last selection; None for the first round."""

    def facts(self) -> dict[str, Any]:
        """JSON-able: the number of selected rounds, and of samples that are not selected yet."""
        return {"rounds_chosen": self.rounds, "later": self.later}


def selected_samples(config: RunConfig, *, keep: bool, dataset: Dataset | None = None) -> SelectedSamples:
    """The samples selected so far; those of the first round if none are.

    Args:
        config: the run.
        keep: save the first selection, which must happen before anything is bought.
        dataset: the run's data set, if it is loaded already.

    Raises:
        DataError, ConfigError: see `Samples`; RunError: see `SavedSelections`.
    """
    pool = CandidatePool.of(dataset or dataset_of(config), config)
    return _combined(config, pool, _selections_so_far(config, pool, keep=keep))


def with_next_round(config: RunConfig, selected: SelectedSamples, teacher_id: str | None) -> SelectedSamples:
    """The samples selected so far and those of the next round, which the student trained on the former selects.

    Args:
        config: the run.
        selected: the samples so far; the student of `config_of_round` is trained on them.
        teacher_id: the teacher whose outputs it was trained on, if any.

    Raises:
        WeightsFileError: the student cannot be read; RunError: see `SavedSelections`.
    """
    pool = CandidatePool.of(selected.samples.dataset, config)
    return _combined(config, pool, _selections_with_next(config, pool, selected, teacher_id))


def all_samples(config: RunConfig) -> Samples:
    """The samples of all rounds.

    Raises:
        ConfigError: some rounds are not selected yet.
    """
    selected = selected_samples(config, keep=True)
    if selected.later:
        hint = hint_for_one_round(config.chosen_by_auto)
        raise ConfigError(
            f"budget.rounds: expected all {config.budget.rounds} rounds to be selected, got {selected.rounds}; the "
            f"others are selected with students, and bought, by: distill-worker run{hint}"
        )
    return selected.samples


def run_in_rounds(
    config: RunConfig,
    *,
    buy: Callable[[SelectedSamples], Bought],
    train: Callable[[RunConfig, Samples, Bought], dict[str, Any]],
) -> dict[str, Any]:
    """Buy and train round after round, and return the result of the last training.

    Raises:
        WorkerError: everything that `buy` and `train` raise, and as `selected_samples`.
    """
    config = resolved(config)
    selected = selected_samples(config, keep=True)
    while True:
        bought = buy(selected)
        result = train(config_of_round(config, selected), selected.samples, bought)
        if selected.rounds == config.budget.rounds:
            return result
        selected = with_next_round(config, selected, bought.teacher_id)


def seconds_of_selecting(config: RunConfig) -> float:
    """The wall time of the students that selected for a run, which count as its own; 0 for a run in one round.

    Raises:
        RunError: a result cannot be read.
    """
    saved = SavedSelections.in_run(config)
    results = [RunDirectory(saved.of_student(number)).result() for number in range(1, config.budget.rounds)]
    return sum(float(result["seconds"]) for result in results if result is not None)


def check_teacher(selected: SelectedSamples, teacher_id: str) -> None:
    """Check that a further round is bought from the teacher of the earlier ones, so that outputs are never mixed.

    Raises:
        RunError: it is another teacher.
    """
    if selected.teacher_id not in (None, teacher_id):
        raise RunError(
            f"teacher: expected {selected.teacher_id}, from which the earlier rounds were bought, got {teacher_id}; "
            f"nothing was spent on this round. Continue with the first teacher, or {ELSEWHERE}"
        )


def _combined(config: RunConfig, pool: CandidatePool, selections: Sequence[SavedSelection]) -> SelectedSamples:
    keys = [key for selection in selections for key in selection.sample_keys]
    samples = Samples.chosen_of(pool, config, keys)
    return SelectedSamples(samples, len(selections), pool.n - len(keys), selections[-1].teacher_id)


def _selections_so_far(config: RunConfig, pool: CandidatePool, *, keep: bool) -> list[SavedSelection]:
    """The selections on disk, or else the first one."""
    budget, saved = config.budget, SavedSelections.in_run(config)
    # A selection that depends on hashes alone is not saved: it can be repeated at any time.
    is_saved = budget.rounds > 1 or STRATEGIES[budget.strategy].is_computed
    if is_saved and not saved.are_free() and (selections := saved.read()):
        return selections
    if not (is_saved and keep):
        return [_first_selection(pool, saved)]
    with saved.locked():
        if saved.are_free():
            saved.move_aside()
        selections = saved.read()
        if not selections:
            selections = [_first_selection(pool, saved)]
            saved.write(selections[0])
    return selections


def _first_selection(pool: CandidatePool, saved: SavedSelections) -> SavedSelection:
    budget = pool.budget
    return SavedSelection(
        round=1,
        strategy=budget.strategy if budget.rounds == 1 else budget.first,
        seed=budget.seed,
        of=dict(saved.identity.values),
        keys=tuple(key.hex() for key in pool.first()),
    )


def _selections_with_next(
    config: RunConfig, pool: CandidatePool, selected: SelectedSamples, teacher_id: str | None
) -> list[SavedSelection]:
    """The selections so far and the next one, on disk."""
    saved, number = SavedSelections.in_run(config), selected.rounds + 1
    with saved.locked():
        selections = saved.read()
        if len(selections) >= number:
            return selections
        try:
            # The configuration names the network, and this process has just run its code.
            path = config_of_round(config, selected).output.directory / "student.safetensors"
            name = config.student.network_to_build
            card, network, fingerprint = load_weights(path, trust_code=True, network=name)
        except WeightsError as error:
            raise WeightsFileError(str(error)) from error
        student = (card, network.to(device_of(config.training.device)))
        taken = [key for selection in selections for key in selection.sample_keys]
        keys = pool.further(pool.budget.sizes[number - 1], taken, student)
        selection = SavedSelection(
            round=number,
            strategy=config.budget.strategy,
            seed=config.budget.seed,
            student=fingerprint,
            teacher_id=teacher_id,
            of=dict(saved.identity.values),
            keys=tuple(key.hex() for key in keys),
        )
        saved.write(selection)
    return [*selections, selection]


def config_of_round(config: RunConfig, selected: SelectedSamples) -> RunConfig:
    """The training of a round: before the last, a run on what is bought so far, in a directory of its own.

    With self-training, the student that selects is trained as a member of the ensemble is.
    """
    if selected.rounds == config.budget.rounds:
        return config
    folder, samples = SavedSelections.in_run(config).of_student(selected.rounds), selected.samples
    held_out = (
        {} if config.data.has_labels and samples.held_out is None else {"holdout": samples.n - len(samples.chosen)}
    )
    here: dict[str, Any] = {
        "budget": config.budget.model_copy(update={"n": samples.n, **held_out}),
        "output": config.output.model_copy(update={"directory": folder, "trackers": ()}),
        "chosen_by_auto": (),
    }
    if (settings := config.self_training) is None:
        return config.model_copy(update=here)
    member = config_of_member(config, settings, folder, f"selects:{selected.rounds}")
    training = member.training
    if (seconds := training.seconds) is not None:
        own = None if settings.member_steps is not None else f"{seconds_of_selection(config, seconds):.3f} s"
        training = training.model_copy(update={"budget": own})
    return member.model_copy(update={**here, "training": training, "self_training": None, "track": "queried"})
