"""The stage before a student's training: round after round, an ensemble gives the unbought samples their outputs.

    self-training/round-1/member-1/          the run directory of a member
    self-training/round-1/pool.safetensors   the outputs of the first ensemble
    self-training/round-2/ ...               members that were also trained on these outputs

Invariant: no call is spent, no label but those of the bought samples is used, and a killed run goes on from the last
checkpoint of the member in training and ends with the same bits.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from distill_worker.config.run_config import RunConfig
from distill_worker.config.run_identity import RunIdentity
from distill_worker.config.stages.self_training import SelfTraining
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.errors import counted
from distill_worker.runs.run_facts import digest
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.self_training.ensemble import mean_log_probabilities
from distill_worker.runs.self_training.members import Member, after, configs_of_members, folder_of_round
from distill_worker.runs.self_training.pool_file import PoolFile
from distill_worker.runs.self_training.unbought import unbought_images
from distill_worker.runs.student import placed
from distill_worker.training.loop import Progress
from distill_worker.training.training_set import TrainingSet, Unbought
from shared.weights import WeightsCard


def self_trained(
    config: RunConfig,
    samples: Samples,
    data: TrainingSet,
    identity: RunIdentity,
    card: Callable[[RunConfig], WeightsCard],
    progress: Progress,
) -> TrainingSet:
    """The training set with the unbought samples and their outputs; without self-training, as it is.

    Args:
        config: the run, resolved.
        samples: of the run.
        data: the bought samples, on the device that trains.
        identity: of the run.
        card: the description of the network that a configuration trains.
        progress: called with the steps that all members have taken, and the loss, whenever they are logged.

    Raises:
        ConfigError: a member cannot be trained.
        RunError: the run directory cannot be used.
    """
    settings = config.self_training
    if settings is None:
        return data
    images, positions = unbought_images(samples, data.images.device)
    stage = _Stage(config, settings, samples.dataset, identity.with_settings_of(config.identity), card, progress)
    learned = replace(data, validation=None)
    for number in range(1, settings.rounds + 1):
        outputs = stage.outputs(number, learned, images, positions)
        unbought = Unbought(images, positions, outputs.to(images.device), settings.bought_share, settings.policy)
        learned = replace(learned, unbought=unbought)
    return replace(data, unbought=learned.unbought)


def facts_of(config: RunConfig, samples: Samples) -> dict[str, Any]:
    """What a result says of the stage, JSON-able; nothing without one."""
    return {} if config.self_training is None else {"self_training": _facts(config, config.self_training, samples)}


def notes(config: RunConfig, samples: Samples) -> list[str]:
    """What the user should know before the stage begins; nothing without one."""
    if config.self_training is None:
        return []
    facts = _facts(config, config.self_training, samples)
    steps = f"{facts['member_steps']:,} steps"
    if config.tuning is not None and config.tuning.steps and config.self_training.member_steps is None:
        steps = "as many steps as [tuning] chooses"
    return [
        f"self-training: {counted(facts['rounds'], 'round')} of {counted(facts['members'], 'member')} "
        f"({facts['network']}, {steps} each) give outputs to "
        f"{facts['unbought']:,} unbought images, for no further call"
    ]


def _facts(config: RunConfig, settings: SelfTraining, samples: Samples) -> dict[str, Any]:
    member = configs_of_members(config, settings, 1)[0]
    return {
        "rounds": settings.rounds,
        "members": settings.members,
        "network": member.student.network,
        "member_steps": member.training.steps,
        "unbought": len(samples.unbought),
    }


@dataclass(frozen=True)
class _Stage:
    config: RunConfig
    settings: SelfTraining
    dataset: Dataset
    identity: RunIdentity
    card: Callable[[RunConfig], WeightsCard]
    progress: Progress

    def outputs(self, number: int, learned: TrainingSet, images: Tensor, positions: Tensor) -> Tensor:
        """The outputs of a round's ensemble for the unbought samples, from their file if they are in it."""
        before = learned.unbought
        facts = {"round": number, "learned_from": None if before is None else digest(before.log_probabilities.cpu())}
        identity = self.identity | facts
        members = [
            Member(config, identity.with_settings_of(config.identity), self.card)
            for config in configs_of_members(self.config, self.settings, number)
        ]
        file = PoolFile(folder_of_round(self.config, number) / "pool.safetensors", identity)
        outputs = file.read()
        if outputs is None:
            for index, member in enumerate(members):
                earlier = (number - 1) * len(members) + index
                member.train(self.dataset, learned, after(earlier * member.config.training.steps, self.progress))
            training = members[0].config.training
            networks = (placed(member.network(), training, images.device) for member in members)
            outputs = mean_log_probabilities(networks, images, positions, learned.preprocessing, training)
            file.write(outputs)
        for member in members:
            with suppress(OSError):  # they only take space
                member.weights.unlink(missing_ok=True)
        return outputs
