"""The stage of a run that chooses its settings: a student that is trained on some folds is scored on another one.

The score is the mean of KL(teacher || student), in nats at temperature 1, over the images of that fold, which are not
augmented. It needs no label, no test image and no further call.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from statistics import fmean
from typing import Any

import torch

from distill_worker.config.run_config import RunConfig
from distill_worker.config.stages.tuning import Tuning
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.errors import ConfigError, TrainingDiverged, counted
from distill_worker.methods.base import LOGITS
from distill_worker.runs.sampling.samples import preprocessing
from distill_worker.runs.student import check_methods, fitted
from distill_worker.runs.tuning.candidates import Candidate, candidates
from distill_worker.runs.tuning.folds import fewest_trained_on, fold_of
from distill_worker.runs.tuning.rungs import Rung, rungs
from distill_worker.runs.tuning.scores import Scores, Trial
from distill_worker.training.evaluate import mean_divergence
from distill_worker.training.loop import Progress
from distill_worker.training.network.errors import training_errors
from distill_worker.training.training_set import TrainingSet


@dataclass(frozen=True)
class Choice:
    """The chosen settings."""

    config: RunConfig
    """The run with them."""
    facts: dict[str, Any]
    """They and the score of every trial, for the result; JSON-able."""
    reason: str
    """What was chosen and why, in one line."""


def check_tuning(config: RunConfig, *, num_classes: int, samples: int, ranks: int) -> None:
    """Check that the settings of a run can be chosen, if it has `[tuning]`.

    Args:
        config: the run.
        num_classes: of the data.
        samples: how many are bought.
        ranks: how many processes train the student together.

    Raises:
        ConfigError: there are several ranks, or too few samples for a trial, or for a method in one.
    """
    if config.tuning is None:
        return
    if ranks > 1:
        raise ConfigError(
            f"tuning: expected one process, got {ranks} ranks; nothing was spent. Train in one process (distill-worker "
            "train), or remove [tuning] and set the settings that such a run chose"
        )
    fewest = fewest_trained_on(samples, config.tuning.folds)
    try:
        check_methods(config, num_classes=num_classes, samples=fewest)
    except ConfigError as error:
        raise ConfigError(
            f"tuning: a trial has {counted(fewest, 'sample')}, which are those outside a fold: {error}"
        ) from error


def steps_of_trials(config: RunConfig) -> int:
    """The most steps that all trials of a run take; 0 without `[tuning]`."""
    if config.tuning is None:
        return 0
    grid = candidates(config.tuning, config.training.seed)
    return sum(rung.candidates * rung.folds * rung.steps for rung in _rungs(config, config.tuning, grid))


def with_most_steps(config: RunConfig) -> RunConfig:
    """The run with the most steps that may be chosen for it."""
    if config.tuning is None:
        return config
    return Candidate(steps=max(config.tuning.steps, default=None)).applied(config)


def choose(
    config: RunConfig,
    tuning: Tuning,
    dataset: Dataset,
    keys: Sequence[bytes],
    data: TrainingSet,
    progress: Progress = lambda _step, _loss: None,
) -> Choice:
    """Score the candidates by successive halving, from the scores that the run directory has.

    Args:
        config: the run, resolved.
        tuning: its section.
        dataset: gives the shape of the images and the classes.
        keys: the sample key of each row of the data.
        data: the bought samples.
        progress: called with the steps of all trials so far, and the loss.

    Raises:
        ConfigError: every candidate diverged, or the network cannot be trained.
        RunError: the run directory cannot be used.
    """
    left = candidates(tuning, config.training.seed)
    count, scored = len(left), dict[Candidate, float]()
    trials = _Trials(config, dataset, data, fold_of(keys, tuning.folds, config.training.seed), progress)
    for rung in _rungs(config, tuning, left):
        left = left[: rung.candidates]
        scored = {candidate: trials.divergence(candidate, rung) for candidate in left}
        left = sorted(left, key=scored.__getitem__)
        if not isfinite(scored[left[0]]):
            raise ConfigError(
                f"tuning: expected a candidate whose loss stays finite, got {len(left)} that diverged; set lower "
                "values in tuning.learning_rates, and train again with --fresh"
            )
    best, *others = left
    facts = {"chosen": best.settings(), "divergence": scored[best], "scores": trials.scores.table()}
    next_best = f"; the next best, {others[0]}: {_shown(scored[others[0]])}" if others else ""
    reason = (
        f"tuning chose {best}, of {counted(count, 'candidate')}: its mean divergence from the teacher on held-out "
        f"bought outputs is the smallest, {scored[best]:.4f} nats{next_best}"
    )
    return Choice(best.applied(config), facts, reason)


class _Trials:
    """The trials of a run, one after the other."""

    def __init__(
        self, config: RunConfig, dataset: Dataset, data: TrainingSet, fold_of_row: Sequence[int], progress: Progress
    ) -> None:
        self.scores = Scores(config.output.directory)
        self._config = config
        self._dataset = dataset
        self._data = data
        self._folds = torch.tensor(fold_of_row, device=data.images.device)
        self._progress = progress
        self._steps_done = 0

    def divergence(self, candidate: Candidate, rung: Rung) -> float:
        """The mean over the folds of a rung; infinite if a training diverged."""
        steps = rung.steps_of(candidate.steps_of(self._config))
        return fmean(self._score(Trial(candidate, steps, fold)) for fold in range(rung.folds))

    def _score(self, trial: Trial) -> float:
        score = self.scores.of(trial)
        if score is None:
            score = self._trained(trial)
            self.scores.add(trial, score)
        self._steps_done += trial.steps
        return score

    def _trained(self, trial: Trial) -> float:
        """Train a student on the other folds; its divergence from the teacher on this one, infinite if not finite."""
        config = trial.candidate.applied(self._config)
        changed = {"steps": trial.steps, "compile": False}  # to compile takes longer than most trials
        config = config.model_copy(update={"training": config.training.model_copy(update=changed)})
        is_held_out = self._folds == trial.fold
        view = preprocessing(self._dataset, config)
        data = self._data.only((~is_held_out).nonzero().flatten())
        data = replace(data, preprocessing=view, validation=None)
        held_out = self._data.only(is_held_out.nonzero().flatten())
        done = self._steps_done
        try:
            network, _ = fitted(
                config,
                self._dataset,
                data,
                self.scores.directory_of(trial),
                lambda step, loss: self._progress(done + step, loss),
            )
        except TrainingDiverged:
            return inf
        with training_errors("the network to classify the held-out images"):
            score = mean_divergence(
                network,
                held_out.images,
                held_out.targets[LOGITS],
                mean=view.mean,
                std=view.std,
                resize=view.size,
            )
        return score if isfinite(score) else inf


def _shown(divergence: float) -> str:
    return f"{divergence:.4f}" if isfinite(divergence) else "diverged"


def _rungs(config: RunConfig, tuning: Tuning, grid: Sequence[Candidate]) -> list[Rung]:
    most = max(candidate.steps_of(config) for candidate in grid)  # of those that were drawn
    return rungs(tuning, candidates=len(grid), steps=most)
