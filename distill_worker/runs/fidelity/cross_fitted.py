"""Fidelity where no bought sample can be spared: students of a part are compared with the teacher on the other one.

Each bought sample is in one of five folds. Five students are trained as the run's student is, each without one fold and
without the pool, for as many steps as a member of an ensemble, which has no pool either. Each is compared with the
teacher on the fold that it lacks. So the figure is that of students of four fifths of the samples, and of none that is
kept.

    fidelity/folds.json   what is compared so far: a killed run repeats the fold under way alone
    fidelity/fold-1/      the checkpoint of the fold under way
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError, RunError, storage_errors
from distill_worker.methods.base import LOGITS
from distill_worker.runs.fidelity.compared import Compared
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.self_training.members import after, steps_of_member
from distill_worker.runs.student import check_methods, fitted
from distill_worker.runs.tuning.folds import fewest_trained_on, fold_of
from distill_worker.training.directory.run_directory import FIDELITY, RunDirectory
from distill_worker.training.loop import Progress, most_steps
from distill_worker.training.training_set import TrainingSet
from shared.atomic_file import write_atomically


def check_cross_fitting(config: RunConfig, *, num_classes: int) -> None:
    """Check that every method can learn from the samples outside a fold, if the fidelity is cross-fitted.

    Raises:
        ConfigError: the term of a method would have no gradient.
    """
    if not config.fidelity_folds or config.budget.n is None:
        return
    try:
        samples = fewest_trained_on(config.budget.n, config.fidelity_folds)
        check_methods(config, num_classes=num_classes, samples=samples)
    except ConfigError as error:
        raise ConfigError(f"budget.holdout: {error}; or set budget.holdout = 0, which measures no fidelity") from error


def steps_of_cross_fitting(config: RunConfig, samples: int) -> int:
    """The steps of all its trainings on a run of so many samples; 0 if there are none."""
    return config.fidelity_folds * most_steps(_without_pool(config).training, samples)


def compared_by_fold(config: RunConfig, samples: Samples, data: TrainingSet, progress: Progress) -> list[Compared]:
    """Train a student without each fold, or go on where a killed run was, and compare it on that fold.

    Raises:
        ConfigError: a network cannot be trained.
        RunError: the run directory cannot be used.
    """
    folds = torch.tensor(fold_of(samples.keys, config.fidelity_folds, config.training.seed), device=data.images.device)
    file = _Folds(config.output.directory)
    parts = file.read()
    config = _without_pool(config)
    steps = most_steps(config.training, len(data))
    for number in range(len(parts), config.fidelity_folds):
        is_held_out, done = folds == number, number * steps
        others = replace(data.only((~is_held_out).nonzero().flatten()), validation=None)
        held_out = data.only(is_held_out.nonzero().flatten())
        network, _ = fitted(config, samples.dataset, others, file.directory_of(number), after(done, progress))
        parts.append(Compared.of(network, held_out.images, held_out.targets[LOGITS], data.preprocessing))
        file.write(parts)
    return parts


def _without_pool(config: RunConfig) -> RunConfig:
    """The training of a student that learns from bought samples alone."""
    if (settings := config.self_training) is None:
        return config
    steps = steps_of_member(config, settings)
    return config.model_copy(update={"training": config.training.model_copy(update={"steps": steps})})


class _Folds:
    """The folds of a run that are compared so far. Every failure of the disk is a `RunError`."""

    def __init__(self, run_directory: Path) -> None:
        self._folder = run_directory / FIDELITY
        self._file = self._folder / "folds.json"

    def read(self) -> list[Compared]:
        if not self._file.exists():
            return []
        try:
            rows = json.loads(self._file.read_text(encoding="utf-8"))["folds"]
            return [
                Compared(
                    torch.tensor(row["agree"], dtype=torch.bool), torch.tensor(row["divergence"], dtype=torch.float64)
                )
                for row in rows
            ]
        except (OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
            raise RunError(
                f"{self._file}: cannot be read ({error}); delete it, then the same command compares anew"
            ) from error

    def directory_of(self, number: int) -> RunDirectory:
        """The directory that the student without this fold is trained in."""
        folder = self._folder / f"fold-{number + 1}"
        with storage_errors(self._folder):
            folder.mkdir(parents=True, exist_ok=True)
        return RunDirectory(folder)

    def write(self, parts: list[Compared]) -> None:
        rows = [{"agree": part.agree.tolist(), "divergence": part.divergence.tolist()} for part in parts]
        with storage_errors(self._folder):
            for folder in self._folder.glob("fold-*/"):  # first, because a full disk then has space for the file
                shutil.rmtree(folder)
            write_atomically(self._file, (json.dumps({"folds": rows}) + "\n").encode())
