"""All analyses of one finished student, and the file `analysis.json` in its run directory that holds them."""

import json
from typing import Any, Final

import torch
from torch import Tensor

from distill_worker.errors import RunError
from distill_worker.experiments.analyses.calibration import calibration
from distill_worker.experiments.analyses.confusion import class_accuracy, confusion
from distill_worker.experiments.analyses.correlations import agreement, class_correlations
from distill_worker.experiments.analyses.finished_run import FinishedRun
from distill_worker.experiments.analyses.outputs import Outputs, outputs, outputs_of_teacher, placed
from distill_worker.experiments.analyses.samples_to_show import disputed, errors
from distill_worker.experiments.analyses.sharpness import MOST_SAMPLES, sharpness
from distill_worker.experiments.analyses.spectra import effective_rank, spectrum
from distill_worker.training.directory.run_directory import ANALYSIS, RunDirectory
from distill_worker.training.finished.fidelity import fidelity
from distill_worker.training.finished.student import FinishedStudent
from shared.atomic_file import write_atomically

_SEED: Final = 0
"""Draws the test samples of spectra and sharpness, and the directions of the latter."""
_MOST_ROWS: Final = 2000
"""Of a spectrum, whose time grows with their square."""


def analyse(
    run: FinishedRun, teacher: FinishedStudent | None = None, *, of_teacher: Outputs | None = None
) -> dict[str, Any]:
    """Analyse a finished student on the device of its run, and write the facts to `analysis.json` in its directory.

    Args:
        run: the finished run.
        teacher: the teacher's network, if it is at hand; it adds the teacher's figures on the test images.
        of_teacher: its outputs, as of `outputs_of_teacher`, if they are computed already.

    Returns:
        JSON-able; docs/analyses.md lists the facts.

    Raises:
        ConfigError: a network has no linear layer, or the teacher's takes other images or classes.
        CacheError: the cache lacks outputs that the student was trained on.
        RunError: the file cannot be written; WeightsFileError: the logits of a network are not finite.
    """
    if teacher is not None and of_teacher is None:
        of_teacher = outputs_of_teacher(teacher, run.dataset, run.device)
    with placed(run.student, run.device):
        of_student = outputs(run.student, run.judged_images)
        of_bought = None if run.bought is None else outputs(run.student, run.bought_images)
        steepness = _sharpness(run)
    facts = {
        **_about(run, teacher),
        **_on_test_images(run, of_student, of_teacher),
        **_spectra(of_student, of_teacher),
        "fidelity": _fidelities(run, of_student, of_teacher, of_bought),
        **_on_bought_images(run, of_bought),
        **steepness,
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
        "classes": list(run.dataset.class_names),
    }


def _on_test_images(run: FinishedRun, student: Outputs, teacher: Outputs | None) -> dict[str, Any]:
    """The facts `test`, `calibration`, `confusion`, `class_accuracy` and `errors`; nothing without test images."""
    if not run.dataset.has_test:
        return {}
    labels, log_probabilities = run.dataset.test.needed_labels, student.log_probabilities
    counts = confusion(labels, log_probabilities.argmax(dim=1), len(run.dataset.class_names))
    return {
        "test": {"samples": len(labels), "accuracy": int(counts.diagonal().sum()) / len(labels)},
        "calibration": calibration(log_probabilities.exp(), labels),
        "confusion": counts.tolist(),
        "class_accuracy": class_accuracy(counts),
        "errors": errors(log_probabilities, labels, None if teacher is None else teacher.log_probabilities),
    }


def _spectra(student: Outputs, teacher: Outputs | None) -> dict[str, Any]:
    """The facts `spectrum` and `effective_rank`."""
    spectra = _spectra_of(student)
    facts = {"spectrum": _as_lists(spectra), "effective_rank": _ranks(spectra)}
    if teacher is not None:
        spectra = _spectra_of(teacher)
        facts["spectrum"]["teacher"] = _as_lists(spectra)
        facts["effective_rank"]["teacher"] = _ranks(spectra)
    return facts


def _spectra_of(one: Outputs) -> dict[str, Tensor]:
    rows = _some_rows(len(one.logits), _MOST_ROWS)
    return {"features": spectrum(one.features[rows]), "logits": spectrum(one.logits[rows])}


def _some_rows(samples: int, most: int) -> Tensor:
    """The places of so many samples, drawn by seed; of all if there are no more, in their order."""
    if samples <= most:
        return torch.arange(samples)
    return torch.randperm(samples, generator=torch.Generator().manual_seed(_SEED))[:most]


def _as_lists(tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {name: values.tolist() for name, values in tensors.items()}


def _ranks(spectra: dict[str, Tensor]) -> dict[str, Any]:
    return {name: effective_rank(values) for name, values in spectra.items()}


def _fidelities(
    run: FinishedRun, student: Outputs, teacher: Outputs | None, on_bought: Outputs | None
) -> dict[str, Any]:
    """The fact `fidelity`."""
    fidelities: dict[str, Any] = {"bought": None}
    if run.bought is not None and on_bought is not None:
        fidelities["bought"] = fidelity(run.bought.log_probabilities, on_bought.log_probabilities)
    if (held_out := run.held_out_divergence) is not None:
        fidelities["held_out"] = {"kl": held_out}
    if teacher is not None and run.dataset.has_test:
        fidelities["test"] = fidelity(teacher.log_probabilities, student.log_probabilities)
    return fidelities


def _on_bought_images(run: FinishedRun, of_student: Outputs | None) -> dict[str, Any]:
    """The facts `class_correlation` and `disputed`."""
    if run.bought is None or of_student is None:
        return {"class_correlation": None, "disputed": []}
    teacher, student = run.bought.log_probabilities, of_student.log_probabilities
    chosen, labels = torch.tensor(run.samples.chosen), run.dataset.train.labels
    return {
        "class_correlation": _correlations(student, teacher) if run.bought.are_whole else None,
        "disputed": disputed(teacher, student, chosen, None if labels is None else labels[chosen]),
    }


def _correlations(student: Tensor, teacher: Tensor) -> dict[str, Any]:
    matrices = {"student": class_correlations(student), "teacher": class_correlations(teacher)}
    return _as_lists(matrices) | {"agreement": agreement(*matrices.values())}


def _sharpness(run: FinishedRun) -> dict[str, Any]:
    """The fact `sharpness`, which needs labels; the network is on the device of the run."""
    if not run.dataset.has_test:
        return {}
    test, labels = run.dataset.test, run.dataset.test.needed_labels
    rows = torch.randperm(len(labels), generator=torch.Generator().manual_seed(_SEED))[:MOST_SAMPLES]
    inputs = run.student.inputs(test.images[rows].to(run.device))
    return {"sharpness": sharpness(run.student.network, inputs, labels[rows].to(run.device), seed=_SEED)}


def _write(run: FinishedRun, facts: dict[str, Any]) -> None:
    file = run.directory / ANALYSIS
    try:
        write_atomically(file, (json.dumps(facts) + "\n").encode())
    except OSError as error:
        raise RunError(
            f"{file}: cannot be written ({error.strerror or error}); free some space, or copy the run to a folder that "
            "can be written. Nothing was spent"
        ) from error
