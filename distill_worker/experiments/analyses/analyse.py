"""All analyses of one finished student, and the file `analysis.json` in its run directory that holds them."""

import json
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from distill_worker.data.class_names import class_order
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.data.selection.features import outputs_of
from distill_worker.errors import ConfigError, RunError, WeightsFileError
from distill_worker.experiments.analyses.calibration import calibration
from distill_worker.experiments.analyses.confusion import class_accuracy, confusion
from distill_worker.experiments.analyses.correlations import agreement, class_correlations
from distill_worker.experiments.analyses.fidelity import fidelity
from distill_worker.experiments.analyses.finished_run import FinishedRun
from distill_worker.experiments.analyses.samples_to_show import disputed, errors
from distill_worker.experiments.analyses.sharpness import MOST_SAMPLES, sharpness
from distill_worker.experiments.analyses.spectra import effective_rank, spectrum
from distill_worker.training.finished.student import FinishedStudent
from distill_worker.training.run_directory import ANALYSIS, RunDirectory
from shared.atomic_file import write_atomically
from shared.degradation import degrade

_SEED: Final = 0
"""Draws the test samples and the directions of the sharpness."""


@dataclass(frozen=True)
class _Outputs:
    """A network's outputs."""

    logits: Tensor
    """float32 `[samples, classes]`, in the data's order of classes."""
    features: Tensor
    """float32 `[samples, width]`: what its last layer takes."""

    @property
    def log_probabilities(self) -> Tensor:
        """float64 `[samples, classes]`."""
        return self.logits.double().log_softmax(dim=1)

    def spectra(self) -> dict[str, Tensor]:
        """The spectra of both."""
        return {"features": spectrum(self.features), "logits": spectrum(self.logits)}


def analyse(run: FinishedRun, teacher: FinishedStudent | None = None) -> dict[str, Any]:
    """Analyse a finished student, and write the facts to `analysis.json` in its run directory.

    Args:
        run: the finished run.
        teacher: the teacher's network, if it is at hand; it adds the teacher's figures on the test images.

    Returns:
        JSON-able; docs/analyses.md lists the facts.

    Raises:
        ConfigError: a network has no linear layer, or the teacher's takes other images or classes.
        CacheError: the cache lacks outputs that the student was trained on.
        RunError: the file cannot be written; WeightsFileError: the logits of a network are not finite.
    """
    test, classes = run.dataset.test, run.dataset.class_names
    of_student = _outputs(run.student, test.images)
    of_teacher = None if teacher is None else _teacher_outputs(teacher, run.dataset)
    log_probabilities = of_student.log_probabilities
    teacher_log_probabilities = None if of_teacher is None else of_teacher.log_probabilities
    predicted = log_probabilities.argmax(dim=1)
    counts = confusion(test.labels, predicted, len(classes))
    facts = {
        **_about(run, teacher),
        "classes": list(classes),
        "test": {"samples": len(test.labels), "accuracy": float((predicted == test.labels).double().mean())},
        "calibration": calibration(log_probabilities.exp(), test.labels),
        "confusion": counts.tolist(),
        "class_accuracy": class_accuracy(counts),
        **_spectra(of_student, of_teacher),
        **_beside_the_teacher(run, log_probabilities, teacher_log_probabilities),
        "sharpness": _sharpness(run),
        "errors": errors(log_probabilities, test.labels, teacher_log_probabilities),
    }
    _write(run, facts)
    return facts


def stored_facts(student: FinishedStudent, teacher: FinishedStudent | None = None) -> dict[str, Any] | None:
    """The facts that `analyse` wrote of this student and, if one is given, of this teacher; None without them."""
    facts = RunDirectory(student.weights.parent).read_json(ANALYSIS)
    if facts is None or facts.get("student") != student.fingerprint:
        return None
    return facts if teacher is None or facts.get("teacher_weights") == teacher.fingerprint else None


def _about(run: FinishedRun, teacher: FinishedStudent | None) -> dict[str, Any]:
    facts = run.student.facts()
    return {
        "student": run.student.fingerprint,
        "network": run.student.card.network,
        "method": facts.method,
        "n": facts.n,
        "seed": facts.seed,
        "teacher_id": facts.teacher_id,
        "teacher_output": facts.teacher_output,
        "teacher_weights": None if teacher is None else teacher.fingerprint,
    }


def _outputs(of: FinishedStudent, images: Tensor) -> _Outputs:
    logits, features = outputs_of(of.network, of.card, images, setting=str(of.weights))
    if of.card.degradation is not None:
        logits = degrade(logits, images.numpy(), of.card.degradation)
    if not np.isfinite(logits).all():
        raise WeightsFileError(f"{of.weights}: expected finite logits, got others; the training has diverged")
    return _Outputs(torch.from_numpy(logits), torch.from_numpy(features))


def _teacher_outputs(teacher: FinishedStudent, dataset: Dataset) -> _Outputs:
    if teacher.image_shape != dataset.image_shape:
        raise ConfigError(
            f"--teacher-weights: expected a network for images of shape {list(dataset.image_shape)}, as those of "
            f"{dataset.name}, got one for {list(teacher.image_shape)} in {teacher.weights}"
        )
    order = class_order(
        dataset.class_names,
        teacher.card.class_names,
        network="the teacher",
        remedy="name the weights of another teacher by --teacher-weights",
        is_named=dataset.classes_are_named,
    )
    outputs = _outputs(teacher, dataset.test.images)
    return outputs if order is None else replace(outputs, logits=outputs.logits[:, order])


def _spectra(student: _Outputs, teacher: _Outputs | None) -> dict[str, Any]:
    """The facts `spectrum` and `effective_rank`."""
    networks = {"student": student.spectra()} | ({} if teacher is None else {"teacher": teacher.spectra()})
    values = {of: {name: one.tolist() for name, one in spectra.items()} for of, spectra in networks.items()}
    ranks = {of: {name: effective_rank(one) for name, one in spectra.items()} for of, spectra in networks.items()}
    return {name: of.pop("student") | of for name, of in (("spectrum", values), ("effective_rank", ranks))}


def _beside_the_teacher(run: FinishedRun, student: Tensor, teacher: Tensor | None) -> dict[str, Any]:
    """The facts `fidelity`, `class_correlation` and `disputed`; the arguments are log-probabilities of test images."""
    fidelities: dict[str, Any] = {"bought": None}
    correlations, most_disputed = None, []
    if (bought := run.bought) is not None:
        outputs = bought.log_probabilities
        of_student = _outputs(run.student, run.bought_images).log_probabilities
        chosen = torch.tensor(run.samples.chosen)
        fidelities["bought"] = fidelity(outputs, of_student)
        most_disputed = disputed(outputs, of_student, chosen, run.dataset.train.labels[chosen])
        if bought.are_whole:
            correlations = _correlations(of_student, outputs)
    if (held_out := run.held_out_divergence) is not None:
        fidelities["held_out"] = {"kl": held_out}
    if teacher is not None:
        fidelities["test"] = fidelity(teacher, student)
    return {"fidelity": fidelities, "class_correlation": correlations, "disputed": most_disputed}


def _correlations(student: Tensor, teacher: Tensor) -> dict[str, Any]:
    matrices = {"student": class_correlations(student), "teacher": class_correlations(teacher)}
    agrees = agreement(matrices["student"], matrices["teacher"])
    return {name: matrix.tolist() for name, matrix in matrices.items()} | {"agreement": agrees}


def _sharpness(run: FinishedRun) -> dict[str, Any]:
    test = run.dataset.test
    rows = torch.randperm(len(test.labels), generator=torch.Generator().manual_seed(_SEED))[:MOST_SAMPLES]
    inputs = run.student.inputs(test.images[rows])
    return sharpness(run.student.network, inputs, test.labels[rows], seed=_SEED)


def _write(run: FinishedRun, facts: dict[str, Any]) -> None:
    file = run.directory / ANALYSIS
    try:
        write_atomically(file, (json.dumps(facts) + "\n").encode())
    except OSError as error:
        raise RunError(
            f"{file}: cannot be written ({error.strerror or error}); free some space, or copy the run to a folder that "
            "can be written. Nothing was spent"
        ) from error
