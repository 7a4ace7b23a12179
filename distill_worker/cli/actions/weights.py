"""What `analyse`, `evaluate`, `predict`, `export` and `degrade` do with a trained network."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from distill_worker.cli.console import TERMINAL, say
from distill_worker.cli.tables.analyses import show_analysis, show_students
from distill_worker.cli.tables.predictions import show_predictions
from distill_worker.config.load import load_config
from distill_worker.config.toml_file import read_toml
from distill_worker.data.class_names import class_order
from distill_worker.errors import ConfigError
from distill_worker.experiments.analyses.analyse import analyse as run_analyses
from distill_worker.experiments.analyses.finished_run import config_of, finished_run
from distill_worker.experiments.analyses.students import analyse_students
from distill_worker.experiments.comparison.cells import load_comparison
from distill_worker.experiments.own_teacher.degrade import degrade_weights
from distill_worker.runs.resolution import resolved, with_facts_of_teacher
from distill_worker.training.evaluate import count_correct
from distill_worker.training.finished.export import export_student, target_of
from distill_worker.training.finished.images import dataset_for, images_to_compare
from distill_worker.training.finished.predict import pictures_in, predictions
from distill_worker.training.finished.student import load_student
from shared.degradation import Degradation


def analyse(
    target: Path,
    teacher_weights: Path | None,
    *,
    cache: str | None,
    root: Path | None,
    path: Path | None,
    trust_code: bool,
    as_json: bool,
) -> None:
    """Analyse the student of a run, or all students of a comparison."""
    teacher = None if teacher_weights is None else load_student(teacher_weights, trust_code=trust_code)
    if target.is_file():
        for option, place in (("--cache", cache), ("--root", root), ("--path", path)):
            if place is not None:
                raise ConfigError(f"{option}: expected no value beside {target}, which names the place, got {place}")
        if "compare" in read_toml(target):
            of_students = analyse_students(
                load_comparison(target, on_note=say), teacher, trust_code=trust_code, display=TERMINAL
            )
            print(json.dumps(of_students)) if as_json else show_students(of_students)
            return
        config = resolved(with_facts_of_teacher(load_config(target, on_note=say), asks=False))
    else:
        config = config_of(target, cache=cache, root=root or Path("data"), path=path)
    directory = config.output.directory
    facts = run_analyses(finished_run(config, load_student(directory, trust_code=trust_code)), teacher)
    print(json.dumps({**facts, "directory": str(directory)})) if as_json else show_analysis(facts, directory)


def evaluate(
    student: Path, data: str | None, *, root: Path, path: Path | None, trust_code: bool, as_json: bool
) -> None:
    """Print the top-1 accuracy of a trained network on the test split of a data set."""
    trained = load_student(student, trust_code=trust_code)
    card = trained.card
    dataset = dataset_for(card, data or str(card.provenance.get("data", "")), root=root, path=path)
    order = class_order(
        dataset.class_names,
        card.class_names,
        network="the network",
        remedy="rename the classes of the data as the network names them, or name another data set by --data",
        is_named=dataset.classes_are_named,
    )
    for line in dataset.notes:
        say(line)
    if order is not None:
        say("data: the network lists the same classes in another order; its answers are mapped by name")
    test, labels = dataset.test, dataset.test.needed_labels
    correct = count_correct(
        trained.network,
        test.images,
        labels if order is None else torch.tensor(order)[labels],
        mean=card.mean,
        std=card.std,
        resize=card.resize,
        degradation=card.degradation,
    )
    total = len(labels)
    facts = {"data": dataset.name, "accuracy": correct / total, "correct": correct, "test_samples": total}
    if as_json:
        print(json.dumps({"fingerprint": trained.fingerprint, **facts}))
    else:
        print(f"{card.network} ({trained.fingerprint}) on {dataset.name}: {correct / total:.2%}, {correct} of {total}")


def predict(student: Path, images: Sequence[Path], *, top: int, trust_code: bool, as_json: bool) -> None:
    """Print the most probable classes of images."""
    trained = load_student(student, trust_code=trust_code)
    pictures = pictures_in(images, note=say)
    predicted = predictions(trained, pictures, top=top, note=say)
    if as_json:
        print(json.dumps({"fingerprint": trained.fingerprint, "images": [asdict(one) for one in predicted]}))
    else:
        show_predictions(predicted)


def export(
    student: Path,
    file_format: str,
    output: Path | None,
    *,
    root: Path,
    path: Path | None,
    trust_code: bool,
    as_json: bool,
) -> None:
    """Write a finished student to a file in another format, with a model card beside it."""
    target = target_of(student, file_format, output)
    trained = load_student(student, trust_code=trust_code)
    images = images_to_compare(trained.card, root=root, path=path, note=say)
    exported = export_student(trained, target, images)
    if as_json:
        facts = {"format": file_format, "largest_difference": exported.largest_difference, "compared_on": images.origin}
        print(json.dumps({"file": str(target.file), "model_card": str(target.model_card), **facts}))
        return
    print(f"{target.file}: {exported.format.description}, model card in {target.model_card.name}")
    print(f"largest difference from the logits of the student: {exported.largest_difference:.2g}, on {images.origin}")


def degrade(
    weights: Path, output: Path, *, prune: float, noise: float, decimals: int | None, seed: int, trust_code: bool
) -> None:
    """Write a worse copy of a teacher."""
    degradation = Degradation(noise=noise, decimals=decimals, seed=seed)
    fingerprint = degrade_weights(
        weights,
        output,
        prune=prune,
        degradation=None if degradation == Degradation(seed=seed) else degradation,
        trust_code=trust_code,
    )
    print(f"{output} ({fingerprint})")
