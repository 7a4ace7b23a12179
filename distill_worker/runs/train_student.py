"""Train one student from its configuration, its samples and the bought outputs, and store the result."""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch

from distill_worker.config.run_config import RunConfig
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.errors import ConfigError
from distill_worker.methods import method_name, why_not_with
from distill_worker.methods.base import LOGITS
from distill_worker.runs.fidelity.cross_fitted import steps_of_cross_fitting
from distill_worker.runs.fidelity.measure import fidelity_of
from distill_worker.runs.resolution import device_of, resolved
from distill_worker.runs.run_facts import identity_of, target_facts
from distill_worker.runs.sampling.on_device import training_set
from distill_worker.runs.sampling.samples import Samples, preprocessing
from distill_worker.runs.self_training.assistant import outside_weights
from distill_worker.runs.self_training.members import after, steps_of_members
from distill_worker.runs.self_training.stage import self_trained
from distill_worker.runs.self_training.unbought import check_self_training
from distill_worker.runs.student import fitted
from distill_worker.runs.tuning import automatic
from distill_worker.runs.tuning.pace import within_time
from distill_worker.runs.tuning.stage import check_tuning, choose, steps_of_trials, with_most_steps
from distill_worker.training.directory.run_directory import Note, RunDirectory
from distill_worker.training.evaluate import count_correct
from distill_worker.training.loop import BestWeights, Progress, most_steps
from distill_worker.training.network.errors import training_errors
from distill_worker.training.precision import check_possible
from distill_worker.training.ranks.group import ALONE, Ranks
from distill_worker.training.teacher_logits import TeacherLogits, to_teacher_logits
from distill_worker.training.trackers.tracking import tracking_of
from distill_worker.training.training_set import TrainingSet
from shared.weights import WeightsCard, code_provenance, weights_bytes


def train_student(
    config: RunConfig,
    samples: Samples,
    targets: Mapping[str, torch.Tensor],
    teacher_id: str | None,
    class_order: tuple[int, ...] | None = None,
    held_out: Mapping[str, torch.Tensor] | None = None,
    *,
    progress: Progress = lambda _step, _loss: None,
    fresh: bool = False,
    note: Note = lambda _line: None,
    on_choice: Note = lambda _line: None,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Train the configured student, or resume from its run directory, and return the result, JSON-able.

    Of several ranks, rank 0 alone uses the directory and evaluates; all return its result.

    Args:
        config: the run.
        samples: of the run.
        targets: the bought outputs by kind, one row for each of `samples.keys`; empty if no method needs a teacher.
        teacher_id: the teacher that they were bought from.
        class_order: for each class of the data, its place among the teacher's; None if both have the same order.
        held_out: as `targets`, one row for each sample that is held out; None if there are none.
        progress: called with the steps so far, of all `total_steps`, and the loss, whenever they are logged.
        fresh: first move an earlier run aside, to a folder in the same directory.
        note: shows where an earlier run was moved to.
        on_choice: called with a line that says which settings `[tuning]` chose, and one of what an assistant labels.
        ranks: the processes that train the student together; each must have the same run.

    Raises:
        ConfigError: a method cannot learn from the bought outputs, this machine lacks the device, the ranks differ, or
            a tracker cannot be used; or the run cannot train itself, though it is to.
        RankLost: another rank ended.
        WorkerError: see `to_teacher_logits`; RunError: see `RunDirectory`.
    """
    config = begun(config, samples, targets, class_order, fresh=fresh, ranks=ranks.size)
    training = config.training
    classes = len(samples.dataset.class_names)
    check_tuning(config, num_classes=classes, samples=len(samples.images), ranks=ranks.size)
    teacher, of_held_out = (
        to_teacher_logits(outputs, classes, label_smoothing=config.teacher.label_smoothing, class_order=class_order)
        for outputs in (targets, held_out or {})
    )
    check_self_training(config, samples, ranks=ranks.size)
    if teacher.output is not None and (reason := why_not_with(config.methods, teacher.output)) is not None:
        raise ConfigError(f"method: {reason}")
    device = device_of(training.device)
    check_possible(training, device)
    torch.set_num_threads(training.threads)
    directory = RunDirectory(config.output.directory)
    identity = identity_of(config, samples, teacher_facts(teacher_id, teacher), ranks=ranks.size)
    identity = identity.with_later_facts(target_facts(teacher.targets))
    ranks.check_alike({**identity.values, "training": training.model_dump(mode="json")})
    finished = ranks.from_first(lambda: None if fresh else directory.result_of(identity))
    if finished is not None:
        return finished
    output = config.output
    tracking = tracking_of(output.trackers, note, tensorboard=output.tensorboard) if ranks.is_first else None
    with directory.opened(identity, fresh=fresh, note=note, tracking=tracking) if ranks.is_first else nullcontext():
        if (finished := ranks.from_first(directory.result)) is not None:
            return finished
        started = time.perf_counter()
        data = training_set(config, samples, teacher.targets, device)
        chosen, tuning = _tuned(config, samples, data, progress, on_choice)
        training, data = chosen.training, replace(data, preprocessing=preprocessing(samples.dataset, chosen))
        progress = after(total_steps(config, len(data)) - _steps_after_tuning(chosen, len(data)), progress)
        outside = outside_weights.facts_of(config, identity)

        def card(of: RunConfig) -> WeightsCard:
            return card_of(of, samples.dataset, teacher_id, teacher, outside)

        bought = data
        data, learned, start = self_trained(chosen, samples, data, identity, card, progress, on_choice)
        progress = after(steps_of_members(chosen), progress)
        network, best = fitted(chosen, samples.dataset, data, directory, progress, start=start, ranks=ranks)
        progress = after(most_steps(training, len(data)), progress)

        def finish() -> dict[str, Any]:
            weights = weights_bytes(network, card(chosen))
            fidelity = fidelity_of(chosen, samples, bought, network, of_held_out.targets.get(LOGITS), progress)
            result = {
                "method": "+".join(method_name(method) for method in config.methods),
                "track": config.track,
                "data": samples.dataset.name,
                "network": config.student.network,
                **({} if config.data.has_labels else {"labels": "none"}),
                "n": samples.n,
                "calls": len(samples.wanted) if config.needs_teacher else 0,
                "protocol": training.protocol,
                "seed": training.seed,
                "steps": most_steps(training, len(data)),
                "teacher_id": teacher_id,
                "teacher_output": teacher.output,
                "completion": teacher.rule,
                **_on_test_images(network, data, samples.dataset),
                "best_validation": _best(best, network, data, samples.dataset),
                **fidelity,
                "seconds": round(time.perf_counter() - started, 3),
                "device": str(device),
                "precision": training.precision,
                "memory_format": training.memory_format,
                "compile": training.compile,
                **({} if training.averaging == "none" else {"averaging": training.averaging}),
                **learned,
                **outside,
                **({} if ranks.size == 1 else {"ranks": ranks.size, "batch_norm": training.batch_norm}),
                **tuning,
                **automatic.facts_of(config, samples),
            }
            directory.finish(weights, result)
            return result

        return ranks.from_first(finish)


def begun(
    config: RunConfig,
    samples: Samples,
    targets: Mapping[str, torch.Tensor],
    class_order: tuple[int, ...] | None = None,
    *,
    fresh: bool = False,
    ranks: int = 1,
) -> RunConfig:
    """The run as it begins on this machine, resolved; a time in `training.budget` is now a number of steps.

    The arguments are those of `train_student`, `ranks` their number.

    Raises:
        ConfigError: the time is too short, or given to several ranks, which would measure different speeds.
        WorkerError: see `to_teacher_logits`.
    """
    config = resolved(config, fresh=fresh)
    if (seconds := config.training.seconds) is None:
        return config
    if ranks > 1:
        raise ConfigError(
            f"training.budget: expected a number of steps for {ranks} ranks, which measure different "
            f"speeds, got {config.training.budget!r}"
        )
    classes, smoothing = len(samples.dataset.class_names), config.teacher.label_smoothing
    teacher = to_teacher_logits(targets, classes, label_smoothing=smoothing, class_order=class_order)
    torch.set_num_threads(config.training.threads)
    data = training_set(config, samples, teacher.targets, device_of(config.training.device))
    return within_time(config, seconds, samples, data)


def total_steps(config: RunConfig, samples: int) -> int:
    """The most steps that a run on so many samples takes: of its trials, the members of its ensembles, its student."""
    return steps_of_trials(config) + _steps_after_tuning(with_most_steps(config), samples)


def _steps_after_tuning(config: RunConfig, samples: int) -> int:
    of_student = most_steps(config.training, samples)
    return steps_of_members(config) + of_student + steps_of_cross_fitting(config, samples)


def _tuned(
    config: RunConfig, samples: Samples, data: TrainingSet, progress: Progress, on_choice: Note
) -> tuple[RunConfig, dict[str, Any]]:
    """The run with the settings that `[tuning]` chooses, and what the result holds of the choice."""
    if config.tuning is None:
        return config, {}
    choice = choose(config, config.tuning, samples.dataset, samples.keys, data, progress)
    on_choice(choice.reason)
    return choice.config, {"tuning": choice.facts}


def _on_test_images(network: torch.nn.Module, data: TrainingSet, dataset: Dataset) -> dict[str, Any]:
    """The facts `accuracy`, `correct` and `test_samples`; null, null and 0 if there are no test images."""
    test = dataset.test
    if not dataset.has_test:
        return {"accuracy": None, "correct": None, "test_samples": 0}
    device = data.images.device
    with training_errors("the network to classify the test images"):
        correct = count_correct(
            network,
            test.images.to(device),
            test.needed_labels.to(device),
            mean=data.preprocessing.mean,
            std=data.preprocessing.std,
            resize=data.preprocessing.size,
        )
    return {"accuracy": correct / len(test.images), "correct": correct, "test_samples": len(test.images)}


def _best(
    best: BestWeights | None, network: torch.nn.Module, data: TrainingSet, dataset: Dataset
) -> dict[str, Any] | None:
    """The test accuracy of the weights with the best validation accuracy. The run's result is that of the last ones."""
    if best is None:
        return None
    network.load_state_dict(best.network)
    return {
        "step": best.step,
        "validation_accuracy": best.accuracy,
        "accuracy": _on_test_images(network, data, dataset)["accuracy"],
    }


def teacher_facts(teacher_id: str | None, teacher: TeacherLogits) -> dict[str, Any]:
    """What a run's identity holds of its teacher."""
    output = {} if teacher.output in (None, LOGITS) else {"teacher_output": teacher.output, "completion": teacher.rule}
    order = {} if teacher.class_order is None else {"class_order": list(teacher.class_order)}
    return {"teacher_id": teacher_id, **output, **order}


def card_of(
    config: RunConfig,
    dataset: Dataset,
    teacher_id: str | None,
    teacher: TeacherLogits,
    provenance: Mapping[str, Any] = MappingProxyType({}),
) -> WeightsCard:
    """The description that goes into the student's weights file, with further provenance."""
    channels, height, width = dataset.image_shape
    return WeightsCard(
        network=config.student.network,
        num_classes=len(dataset.class_names),
        in_channels=channels,
        image_size=(height, width),
        resize=config.student.image_size,
        mean=dataset.mean,
        std=dataset.std,
        class_names=dataset.class_names,
        provenance={
            "data": dataset.name,
            **config.data.rule_facts,
            "n": config.budget.n,
            "track": config.track,
            "methods": [method.model_dump(mode="json") for method in config.methods],
            "seed": config.training.seed,
            "steps": config.training.steps,
            "teacher_id": teacher_id,
            "teacher_output": teacher.output,
            "completion": teacher.rule,
            **provenance,
            **code_provenance(config.student.network_to_build),
        },
    )
