"""The fidelity of a run's student: on the samples that are held out, or cross-fitted where none can be spared."""

from typing import Any

from torch import Tensor, nn

from distill_worker.config.run_config import RunConfig
from distill_worker.errors import TrainingDiverged
from distill_worker.runs.fidelity.compared import Compared
from distill_worker.runs.fidelity.cross_fitted import compared_by_fold
from distill_worker.runs.sampling.samples import Samples
from distill_worker.training.loop import Progress
from distill_worker.training.training_set import TrainingSet


def fidelity_of(
    config: RunConfig,
    samples: Samples,
    data: TrainingSet,
    network: nn.Module,
    held_out: Tensor | None,
    progress: Progress = lambda _step, _loss: None,
) -> dict[str, Any]:
    """The fact `fidelity` of a result, JSON-able; empty where it is not measured, or a student of a fold diverged.

    Args:
        config: the run, with its chosen settings.
        samples: of the run.
        data: the samples to train on with their bought outputs, without those of an ensemble.
        network: the student.
        held_out: the teacher's logits or log-probabilities of the samples that are held out; None without them.
        progress: called with the steps of the cross-fitting so far, and the loss.

    Raises:
        ConfigError: a network cannot be trained.
        RunError: the run directory cannot be used.
    """
    if samples.held_out is not None and held_out is not None:
        images = samples.held_out.images.to(data.images.device)
        compared = Compared.of(network, images, held_out, data.preprocessing)
        return {"fidelity": {"measured_on": "held-out", **compared.facts()}}
    if not config.fidelity_folds:
        return {}
    try:
        parts = compared_by_fold(config, samples, data, progress)
    except TrainingDiverged:
        return {}  # the student did not, and is not lost by it
    return {"fidelity": {"measured_on": "cross-fitted", "folds": len(parts), **Compared.together(parts).facts()}}


def notes(config: RunConfig, samples: Samples) -> list[str]:
    """A line for the user: on which samples the student will be compared with its teacher; nothing if on none."""
    if samples.held_out is not None:
        count = len(samples.held_out.keys)
        return [
            f"{count} of the {samples.n} samples were drawn at random and are held out: on them, the student is "
            "compared with its teacher"
        ]
    if config.fidelity_folds:
        return [
            f"{config.fidelity_folds} further students are trained without a fifth of the samples each, and compared "
            "with the teacher on it; to save this time, set budget.holdout = 0"
        ]
    return []
