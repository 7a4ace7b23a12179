"""The stage before a student's training: round after round, an ensemble gives the unbought samples their outputs.

In the track `queried` there are none. Then the first ensemble gives outputs to views of the bought images, while
the student is trained.

    self-training/round-1/member-1/          the run directory of a member
    self-training/round-1/pool.safetensors   the outputs of the first ensemble
    self-training/round-2/ ...               members that were also trained on these outputs
    self-training/assistant/                 the assistant's outputs, and members that it is compared with

Invariant: no call is spent, no label but those of the bought samples is used, and a killed run goes on from the last
checkpoint of the member in training and ends with the same bits.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from distill_worker.config.run_config import RunConfig
from distill_worker.config.run_identity import RunIdentity
from distill_worker.config.stages.self_training import SelfTraining
from distill_worker.data.digest import digest
from distill_worker.errors import counted
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.self_training.assistant.stage import Assistant, assistant_of
from distill_worker.runs.self_training.ensemble import least_sure, sharpened
from distill_worker.runs.self_training.members import (
    Member,
    Members,
    after,
    configs_of_members,
    folder_of_round,
    labelled,
    steps_of_policy_trials,
)
from distill_worker.runs.self_training.outputs_file import OutputsFile
from distill_worker.runs.self_training.policy import chosen_policy
from distill_worker.runs.self_training.unbought import unbought_images
from distill_worker.training.directory.run_directory import Note
from distill_worker.training.loop import Progress
from distill_worker.training.training_set import TrainingSet, Unbought, Views
from shared.weights import WeightsCard


class SelfTrained(NamedTuple):
    """What the student learns from."""

    data: TrainingSet
    facts: dict[str, Any]
    """What the result says of the stage, JSON-able; nothing without one."""
    start: nn.Module | None = None
    """The network from whose weights the student's training starts; None: from fresh ones."""


def self_trained(
    config: RunConfig,
    samples: Samples,
    data: TrainingSet,
    identity: RunIdentity,
    card: Callable[[RunConfig], WeightsCard],
    progress: Progress,
    on_choice: Note,
) -> SelfTrained:
    """The training set with the unbought samples and their outputs; without self-training, as it is.

    Args:
        config: the run, resolved.
        samples: of the run.
        data: the bought samples, on the device that trains.
        identity: of the run.
        card: the description of the network that a configuration trains.
        progress: called with the steps that all members have taken, and the loss, whenever they are logged.
        on_choice: called with a line that says which policy is chosen, and one that says what an assistant does.

    Raises:
        ConfigError: a member cannot be trained, or the assistant's file does not fit.
        RunError: the run directory cannot be used.
    """
    settings = config.self_training
    if settings is None:
        return SelfTrained(data, {})
    identity = identity.with_settings_of(config.identity)
    members = Members(config, settings, samples.dataset, identity, card, progress)
    learned = replace(data, validation=None)
    facts = _facts(config, settings, samples)
    sharpening = settings.sharpening_on(len(samples.dataset.class_names))
    if config.track == "queried":
        ensemble = _trained_ensemble(members, learned)
        outputs_of_views = members.ensemble(ensemble, data.images.device)
        views = Views(
            lambda inputs: sharpened(outputs_of_views(inputs), sharpening), settings.bought_share, settings.policy
        )
        return SelfTrained(replace(data, views=views), {"self_training": facts}, _start(settings, ensemble[0]))
    images, positions = unbought_images(samples, data.images.device)
    if settings.policy == "auto":
        choice = chosen_policy(members, samples.keys, learned, images, positions)
        on_choice(choice.reason)
        settings = settings.with_policy(choice.policy)
        facts |= choice.facts | {"distorted_members": settings.distorted_members}
        members = replace(members, settings=settings, progress=after(steps_of_policy_trials(config), progress))
    assistant = assistant_of(members, samples.keys, learned, images, positions)
    if assistant is not None:
        on_choice(assistant.reason)
        facts["assistant"] = assistant.facts
    for number in range(1, settings.rounds + 1):
        outputs, first = _outputs(members, number, learned, images, positions, assistant if number == 1 else None)
        outputs = sharpened(outputs, sharpening).to(images.device)
        rows = least_sure(outputs, settings.unsure_share)
        unbought = Unbought(images, positions[rows], outputs[rows], settings.bought_share, settings.policy)
        learned = replace(learned, unbought=unbought)
    return SelfTrained(replace(data, unbought=learned.unbought), {"self_training": facts}, _start(settings, first))


def notes(config: RunConfig, samples: Samples) -> list[str]:
    """What the user should know before the stage begins; nothing without one."""
    if config.self_training is None:
        return []
    facts = _facts(config, config.self_training, samples)
    steps = f"{facts['member_steps']:,} steps"
    if config.tuning is not None and config.tuning.steps and config.self_training.member_steps is None:
        steps = "as many steps as [tuning] chooses"
    helped = ""
    if config.assistant is not None:
        folds = counted(config.self_training.folds, "further member")
        helped = f", helped by {config.assistant.name}, an assistant that {folds} are compared with,"
    labelled = f"{facts['unbought']:,} unbought images" if facts["unbought"] else "distorted views of the bought images"
    return [
        f"self-training: {counted(facts['rounds'], 'round')} of {counted(facts['members'], 'member')} "
        f"({facts['network']}, {steps} each){helped} give outputs to {labelled}, for no further call"
    ]


def _facts(config: RunConfig, settings: SelfTraining, samples: Samples) -> dict[str, Any]:
    member = configs_of_members(config, settings, 1)[0]
    return {
        "rounds": settings.rounds,
        "members": settings.members,
        "distorted_members": settings.distorted_members,
        "network": member.student.network,
        "member_steps": member.training.steps,
        "unbought": 0 if config.track == "queried" else len(samples.unbought),
        "unsure_share": settings.unsure_share,
        "sharpening": settings.sharpening_on(len(samples.dataset.class_names)),
    }


def _start(settings: SelfTraining, first: Member) -> nn.Module | None:
    """The network that the student's training starts from, if it is not a fresh one. Raises `RunError`."""
    return first.network() if settings.start == "member" else None


def _trained_ensemble(members: Members, data: TrainingSet) -> list[Member]:
    """The ensemble of the only round; its members' weights stay, because a resumed student needs them.

    Raises:
        TrainingDiverged: its outputs for the bought images are not finite.
    """
    ensemble = members.of(configs_of_members(members.config, members.settings, 1), {"round": 1})
    for index, member in enumerate(ensemble):
        members.train(member, data, earlier=index)
    every = torch.arange(len(data), device=data.images.device)
    members.outputs(ensemble, data.images, every, data.preprocessing)  # it checks them
    return ensemble


def _outputs(
    members: Members,
    number: int,
    learned: TrainingSet,
    images: Tensor,
    positions: Tensor,
    assistant: Assistant | None,
) -> tuple[Tensor, Member]:
    """The outputs of a round's ensemble for the unbought samples, from their file if they are in it; and a member."""
    before = learned.unbought
    facts = {"round": number, "learned_from": None if before is None else digest(before.log_probabilities.cpu())}
    ensemble = members.of(configs_of_members(members.config, members.settings, number), facts)

    def make() -> Tensor:
        if assistant is not None and assistant.labels_alone:
            return assistant.labels(assistant.log_probabilities)
        for index, member in enumerate(ensemble):
            members.train(member, learned, earlier=members.settings.folds + (number - 1) * len(ensemble) + index)
        outputs = members.outputs(ensemble, images, positions, learned.preprocessing)
        return outputs if assistant is None else assistant.labels(outputs)

    file = OutputsFile(folder_of_round(members.config, number) / "pool.safetensors", members.identity | facts)
    starts_student = members.settings.start == "member" and number == members.settings.rounds
    return labelled(file, ensemble[1:] if starts_student else ensemble, make), ensemble[0]
