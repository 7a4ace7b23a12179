"""Which augmentation suits the unbought images: each is tried, and bought outputs judge.

In a run in rounds, a student of the earlier rounds selects the samples of the last one, so neither it nor what it says
of the unbought images knows their outputs. For each policy, a short training goes on from that student, on the samples
of the earlier rounds and on its own outputs for the pool. The last policy, which distorts most, is chosen unless the
student of another diverges clearly less from the teacher on the samples of the last round: by more than twice the
standard error of the difference. A trial is short, and so shows less of what variety gains in a longer training.

    self-training/policy/half-strong/            the run directory of a trial
    self-training/policy/judged.safetensors      what the students of all trials say of the samples that judge
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from distill_worker.config.data_sections import Policy
from distill_worker.errors import RunError
from distill_worker.methods.base import LOGITS
from distill_worker.runs.sampling.saved_selections import SavedSelections
from distill_worker.runs.self_training.assistant.divergence import divergences_at_best_scale
from distill_worker.runs.self_training.members import Members, config_of_policy_trial, labelled
from distill_worker.runs.self_training.outputs_file import OutputsFile
from distill_worker.training.directory.run_directory import SELF_TRAINING, STUDENT
from distill_worker.training.training_set import TrainingSet, Unbought
from shared.weights import WeightsError, load_weights

_CLEARLY: Final = 2.0
"""Standard errors by which a policy that distorts less must be better."""


@dataclass(frozen=True)
class PolicyChoice:
    """The chosen augmentation of unbought images."""

    policy: Policy
    divergences: dict[Policy, float]
    """Of the student of each policy from the teacher, in nats."""
    errors: dict[Policy, float]
    """The standard error of how much more the student of the last policy diverges, in nats; for each other policy."""

    @classmethod
    def of(cls, divergences: Mapping[Policy, Tensor]) -> "PolicyChoice":
        """The choice by the divergences of the samples that judge, each `[samples]`, in nats."""
        *others, last = divergences
        chosen, errors = last, dict[Policy, float]()
        for policy in others:
            more = divergences[last] - divergences[policy]
            errors[policy] = float(more.std(correction=min(1, len(more) - 1)) / len(more) ** 0.5)
            if float(more.mean()) > _CLEARLY * errors[policy]:
                chosen = policy
        return cls(chosen, {policy: float(own.mean()) for policy, own in divergences.items()}, errors)

    @property
    def facts(self) -> dict[str, Any]:
        """What the result says of it, JSON-able."""
        return {
            "policy": self.policy,
            "policy_divergence": self.divergences,
            "policy_standard_error": self.errors,
        }

    @property
    def reason(self) -> str:
        """The same in one line for the screen."""
        listed = ", ".join(f"{value:.4f} with {policy}" for policy, value in self.divergences.items())
        errors = ", ".join(f"{value:.4f}" for value in self.errors.values())
        return (
            f"self-training: the policy {self.policy}: on the bought outputs of the last round, a student "
            f"diverges from the teacher by {listed} (mean, in nats; standard error of the difference: {errors})"
        )


def chosen_policy(
    members: Members, keys: Sequence[bytes], data: TrainingSet, images: Tensor, positions: Tensor
) -> PolicyChoice:
    """Try each policy, or go on where a killed run was.

    Args:
        members: of the run.
        keys: the sample key of each row of the data.
        data: the bought samples.
        images: uint8 `[images, channels, height, width]`, with those of the pool among them.
        positions: int64 `[pool]`, of the pool.

    Raises:
        ConfigError: the network cannot be trained.
        RunError: the run directory cannot be used, or lacks the student that selected the last round.
    """
    config, settings = members.config, members.settings
    folder = config.output.directory / SELF_TRAINING / "policy"
    selections = SavedSelections.in_run(config)
    last = selections.read()[-1]
    of_last_round = set(last.sample_keys)
    is_judge = torch.tensor([key in of_last_round for key in keys], device=data.images.device)
    judges, others = is_judge.nonzero().flatten(), (~is_judge).nonzero().flatten()
    selecting = _network_of(selections, members)
    trials = [
        trial
        for policy in settings.policies
        for trial in members.of(
            [config_of_policy_trial(config, settings, folder / policy)],
            {"policy": policy, "selected_by": last.student},
            start=selecting,
        )
    ]

    def make() -> Tensor:
        outputs = members.outputs_of([selecting], images, positions, data.preprocessing).to(images.device)
        said = []
        for index, (policy, trial) in enumerate(zip(settings.policies, trials, strict=True)):
            unbought = Unbought(images, positions, outputs, settings.bought_share, policy)
            members.train(trial, replace(data.only(others), unbought=unbought), earlier=index)
            said.append(members.outputs([trial], data.images, judges, data.preprocessing))
        return torch.cat(said)

    file = OutputsFile(folder / "judged.safetensors", members.identity | {"policies": list(settings.policies)})
    said = labelled(file, trials, make)
    teacher = data.targets[LOGITS][judges].cpu().double().log_softmax(dim=1)
    by_policy = zip(settings.policies, torch.split(said, len(judges)), strict=True)
    return PolicyChoice.of({policy: divergences_at_best_scale(teacher, own.double()) for policy, own in by_policy})


def _network_of(selections: SavedSelections, members: Members) -> nn.Module:
    """The student that selected the last round."""
    path = selections.of_student(members.config.budget.rounds - 1) / STUDENT
    try:
        # The configuration names the network, and a process of this run has run its code.
        name = members.settings.student(members.config.student).network_to_build
        return load_weights(path, trust_code=True, network=name)[1]
    except WeightsError as error:
        raise RunError(f"{error}; restore it, or state self_training.policy in another output.directory") from error
