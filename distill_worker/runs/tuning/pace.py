"""How many steps each training of a run takes, where `training.budget` says what all of them may take together."""

from dataclasses import replace
from math import floor

from distill_worker.config.run_config import RunConfig
from distill_worker.config.stages.self_training import SelfTraining
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.errors import ConfigError
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.self_training.ensemble import Ensemble
from distill_worker.runs.self_training.made_up import with_made_up_outputs
from distill_worker.runs.self_training.members import (
    SHARE_OF_POLICY_TRIAL,
    configs_of_members,
    number_of_members,
    number_of_policy_trials,
)
from distill_worker.runs.student import initialised, placed
from distill_worker.training.loop import seconds_a_step
from distill_worker.training.training_set import TrainingSet, Views
from shared.networks.draws import kept_draws


def within_time(config: RunConfig, seconds: float, samples: Samples, data: TrainingSet) -> RunConfig:
    """The run with as many steps as fit into the time on this machine, and without `training.budget`.

    Raises:
        ConfigError: the time is too short for one step of each training, or the network cannot be trained.
    """
    member, student_data = 0.0, data
    if (settings := config.self_training) is not None:
        member = _seconds_a_step(configs_of_members(config, settings, 1)[0], samples.dataset, data)
        student_data = _with_untrained_members(config, settings, samples, data)
    student = _seconds_a_step(config, samples.dataset, student_data)
    return _divided(config, seconds, student=student, member=member)


def within_steps(config: RunConfig, steps: int) -> RunConfig:
    """The run whose trainings take so many steps together, without `training.budget`.

    Raises:
        ConfigError: they are too few for one step of each training.
    """
    return _divided(config, steps, student=1, member=1)


def with_steps(config: RunConfig, steps: int) -> RunConfig:
    """The run with trainings of so many steps, without `training.budget`."""
    training = config.training.model_copy(update={"steps": steps, "budget": None})
    return config.model_copy(update={"training": training})


def seconds_of_selection(config: RunConfig, seconds: float) -> float:
    """The time of a run in rounds whose students that select are members of its ensemble, without that ensemble."""
    rounds = config.budget.rounds
    return seconds * rounds / (rounds + number_of_members(config) + _trials(config) + config.fidelity_folds)


def _divided(config: RunConfig, budget: float, *, student: float, member: float) -> RunConfig:
    """Divide a budget by what a step costs; all trainings take as many steps, unless `member_steps` is stated.

    In rounds, a student selects for each but the first, and others may cross-fit the fidelity: with self-training, they
    are trained as a member is.
    """
    settings = config.self_training
    others = number_of_members(config) + config.budget.rounds - 1 + config.fidelity_folds
    as_long_as_members = others * (student if settings is None else member) + _trials(config) * student
    if settings is not None and settings.member_steps is not None:
        steps = floor((budget - settings.member_steps * as_long_as_members) / student)
    else:
        steps = floor(budget / (as_long_as_members + student))
    if steps < 1:
        trainings = others + 1
        raise ConfigError(
            f"training.budget: expected enough for a step of each of {trainings} trainings, got "
            f"{config.training.budget!r}; raise it, or lower self_training.members"
        )
    return with_steps(config, steps)


def _trials(config: RunConfig) -> float:
    """The steps of all trials of a policy, divided by those of a member."""
    return number_of_policy_trials(config) * SHARE_OF_POLICY_TRIAL


def _with_untrained_members(
    config: RunConfig, settings: SelfTraining, samples: Samples, data: TrainingSet
) -> TrainingSet:
    """What the student will learn from, with outputs that cost as much as real ones."""
    if config.track != "queried":
        return with_made_up_outputs(config, settings, samples, data)
    device = data.images.device
    networks = (
        placed(initialised(member, samples.dataset, data)[0], config.training, device)
        for member in configs_of_members(config, settings, 1)
    )
    with kept_draws():
        ensemble = Ensemble(networks, config.training, device)
    return replace(data, views=Views(ensemble, settings.bought_share, settings.policies[-1]))


def _seconds_a_step(config: RunConfig, dataset: Dataset, data: TrainingSet) -> float:
    with kept_draws():
        network, objective = initialised(config, dataset, data)
        device = data.images.device
        return seconds_a_step(placed(network, config.training, device), objective.to(device), data, config.training)
