"""The members of an ensemble: each is a run of its own, in a directory below that of the run that they help."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from math import floor
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from distill_worker.config.run_config import RunConfig
from distill_worker.config.run_identity import RunIdentity
from distill_worker.config.stages.self_training import SelfTraining
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.data.preprocessing import Preprocessing
from distill_worker.errors import ConfigError, RunError
from distill_worker.runs.self_training.ensemble import Ensemble, mean_log_probabilities
from distill_worker.runs.self_training.outputs_file import OutputsFile
from distill_worker.runs.student import fitted, placed
from distill_worker.training.directory.run_directory import SELF_TRAINING, STUDENT, RunDirectory
from distill_worker.training.loop import Progress
from distill_worker.training.training_set import TrainingSet
from shared.weights import WeightsCard, WeightsError, load_weights, weights_bytes

_SEED_BYTES: Final = 4
_POLICY_OF_DISTORTED_MEMBERS: Final = "half-strong"
SHARE_OF_POLICY_TRIAL: Final = 0.25
"""The steps of a trial of a policy, divided by those of a member."""


def folder_of_round(config: RunConfig, number: int) -> Path:
    """The folder of an ensemble; the first is number 1."""
    return config.output.directory / SELF_TRAINING / f"round-{number}"


def configs_of_members(config: RunConfig, settings: SelfTraining, number: int) -> list[RunConfig]:
    """The runs of an ensemble's members: they differ in their seeds, and the last may see distorted images."""
    configs = [
        config_of_member(config, settings, folder_of_round(config, number) / f"member-{member}", f"{number}:{member}")
        for member in range(1, settings.members + 1)
    ]
    undistorted = settings.members - settings.distorted_members
    return configs[:undistorted] + [_distorted(member) for member in configs[undistorted:]]


def _distorted(config: RunConfig) -> RunConfig:
    return config.model_copy(
        update={"augmentation": config.augmentation.model_copy(update={"policy": _POLICY_OF_DISTORTED_MEMBERS})}
    )


def config_of_policy_trial(config: RunConfig, settings: SelfTraining, directory: Path) -> RunConfig:
    """The run of a trial of a policy, in this directory; all trials have the same seed."""
    return config_of_member(config, settings, directory, "policy", steps=_steps_of_policy_trial(config, settings))


def config_of_member(
    config: RunConfig, settings: SelfTraining, directory: Path, name: str, *, steps: int | None = None
) -> RunConfig:
    """The run of a member in this directory, whose seed follows from that of the run and from its name.

    Its steps are those of a member, if no others are given.
    """
    length = {"steps": steps or steps_of_member(config, settings), "stop_after_steps": None}
    seed = {"seed": _seed(config.training.seed, name)}
    return config.model_copy(
        update={
            "student": settings.student(config.student),
            "training": config.training.model_copy(update=length | seed),
            "output": config.output.model_copy(update={"directory": directory}),
        }
    )


def steps_of_member(config: RunConfig, settings: SelfTraining) -> int:
    """The steps of one member's training."""
    return settings.member_steps or config.training.steps


def steps_of_members(config: RunConfig) -> int:
    """The steps of all trainings before the student's; 0 without self-training."""
    settings = config.self_training
    if settings is None:
        return 0
    return steps_of_policy_trials(config) + number_of_members(config) * steps_of_member(config, settings)


def number_of_policy_trials(config: RunConfig) -> int:
    """How many policies are tried; 0 if one is stated, and without self-training."""
    settings = config.self_training
    return len(settings.policies) if settings is not None and settings.policy == "auto" else 0


def steps_of_policy_trials(config: RunConfig) -> int:
    """The steps of all trials of a policy; 0 without self-training."""
    settings = config.self_training
    return 0 if settings is None else number_of_policy_trials(config) * _steps_of_policy_trial(config, settings)


def _steps_of_policy_trial(config: RunConfig, settings: SelfTraining) -> int:
    return max(1, floor(SHARE_OF_POLICY_TRIAL * steps_of_member(config, settings)))


def number_of_members(config: RunConfig) -> int:
    """How many members are trained in all, with those that an assistant is compared with; 0 without self-training."""
    settings = config.self_training
    return 0 if settings is None else settings.folds + settings.rounds * settings.members


def after(steps: int, progress: Progress) -> Progress:
    """The progress of a training that begins when others have taken so many steps."""
    return lambda step, loss: progress(steps + step, loss)


@dataclass(frozen=True)
class Member:
    """One member of an ensemble."""

    config: RunConfig
    identity: RunIdentity
    card: Callable[[RunConfig], WeightsCard]
    """The description of the network that a configuration trains."""
    start: nn.Module | None = None
    """The same network with the weights that its training starts from; None: those that its seed draws."""

    @property
    def weights(self) -> Path:
        """Its weights file, which is deleted once the outputs are stored, unless the student starts from it."""
        return self.config.output.directory / STUDENT

    def train(self, dataset: Dataset, data: TrainingSet, progress: Progress) -> None:
        """Train it, or go on from its checkpoint; a trained one with its weights stays as it is. Raises as `fitted`."""
        directory = RunDirectory(self.config.output.directory)
        with directory.opened(self.identity):
            if directory.result() is None or not self.weights.exists():
                with self._named_errors():
                    network, _ = fitted(self.config, dataset, data, directory, progress, start=self.start)
                training = self.config.training
                result = {"seed": training.seed, "steps": training.steps, "network": self.config.student.network}
                directory.finish(weights_bytes(network, self.card(self.config)), result)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        place = self.config.output.directory
        try:
            yield
        except ConfigError as error:
            raise type(error)(f"self_training: {place.parent.name}/{place.name}: {error}") from error

    def network(self) -> nn.Module:
        """The trained network, on the CPU, as its file has it: so a run that was killed labels with the same bits.

        Raises:
            RunError: its weights file is damaged.
        """
        try:
            # The configuration names the network, and this process has just run its code.
            return load_weights(self.weights, trust_code=True, network=self.config.student.network_to_build)[1]
        except WeightsError as error:
            raise RunError(
                f"{error}; delete {self.config.output.directory.parent}, then the same command trains its members again"
            ) from error


@dataclass(frozen=True)
class Members:
    """All members that help to train the student of a run: what they have in common."""

    config: RunConfig
    """The run, resolved."""
    settings: SelfTraining
    dataset: Dataset
    identity: RunIdentity
    """Of the run."""
    card: Callable[[RunConfig], WeightsCard]
    """The description of the network that a configuration trains."""
    progress: Progress
    """Called with the steps that all members have taken, and the loss."""

    def of(
        self, configs: Sequence[RunConfig], facts: Mapping[str, Any], *, start: nn.Module | None = None
    ) -> list[Member]:
        """Members by their configurations; the facts belong to their identities."""
        identity = self.identity | facts
        return [Member(config, identity.with_settings_of(config.identity), self.card, start) for config in configs]

    def train(self, member: Member, data: TrainingSet, *, earlier: int) -> None:
        """Train a member, before which so many others are trained. Raises as `Member.train`."""
        data = replace(data, preprocessing=replace(data.preprocessing, policy=member.config.augmentation.policy))
        member.train(self.dataset, data, after(earlier * member.config.training.steps, self.progress))

    def outputs(
        self, members: Iterable[Member], images: Tensor, positions: Tensor, preprocessing: Preprocessing
    ) -> Tensor:
        """The outputs of an ensemble of trained members: see `mean_log_probabilities`."""
        return self.outputs_of((member.network() for member in members), images, positions, preprocessing)

    def outputs_of(
        self, networks: Iterable[nn.Module], images: Tensor, positions: Tensor, preprocessing: Preprocessing
    ) -> Tensor:
        """The outputs of an ensemble of these networks: see `mean_log_probabilities`."""
        placed_networks = self._placed(networks, images.device)
        return mean_log_probabilities(placed_networks, images, positions, preprocessing, self.config.training)

    def ensemble(self, members: Iterable[Member], device: torch.device) -> Ensemble:
        """An ensemble of trained members, on the device. Raises `RunError`."""
        return Ensemble(self._placed((member.network() for member in members), device), self.config.training, device)

    def _placed(self, networks: Iterable[nn.Module], device: torch.device) -> Iterator[nn.Module]:
        return (placed(network, self.config.training, device) for network in networks)


def labelled(file: OutputsFile, needless: Sequence[Member], make: Callable[[], Tensor]) -> Tensor:
    """The outputs in the file, or else those that `make` makes. Then deletes the weights of needless members."""
    outputs = file.read()
    if outputs is None:
        outputs = make()
        file.write(outputs)
    for member in needless:
        with suppress(OSError):  # they only take space
            member.weights.unlink(missing_ok=True)
    return outputs


def _seed(seed: int, name: str) -> int:
    digest = sha256(f"self-training:{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:_SEED_BYTES], "big")
