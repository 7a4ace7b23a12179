"""What is checked before a call is spent: the registry of checks, and the functions that run them.

`plan`, `fetch`, `run` (in each round) and `compare` run these checks. docs/checks.md is generated from the registry.
tests/end_to_end/preflight_faults.py has a case for each check.

Invariant: a check spends no call, and changes neither a purchase nor a run's result.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from distill_worker.buying.plan import Plan
from distill_worker.cache import Cache
from distill_worker.errors import WorkerError
from distill_worker.runs.classes import check_names
from distill_worker.runs.fidelity.cross_fitted import check_cross_fitting
from distill_worker.runs.preflight.disk_space import check_cache, check_run_directory
from distill_worker.runs.preflight.facts import Lesson, Run, Sale
from distill_worker.runs.preflight.teacher_checks import (
    check_agreement,
    check_classes,
    check_datatype,
    check_image_shape,
    check_picture_rules,
)
from distill_worker.runs.resolution import device_of, kind_of_device
from distill_worker.runs.rounds import check_teacher
from distill_worker.runs.run_facts import identity_of
from distill_worker.runs.self_training.unbought import check_self_training
from distill_worker.runs.student import check_methods
from distill_worker.runs.train_student import teacher_facts
from distill_worker.runs.tuning.stage import check_tuning
from distill_worker.teachers.base import Description
from distill_worker.training.directory.run_directory import RunDirectory
from distill_worker.training.precision import check_possible
from distill_worker.training.trackers.named import tracker_named

__all__ = [
    "CHECKS",
    "WITHOUT_TEACHER",
    "WITH_CACHE",
    "WITH_DESCRIPTION",
    "WITH_OUTPUTS",
    "WITH_PLAN",
    "Check",
    "Lesson",
    "Run",
    "Sale",
    "check_lesson",
    "check_lessons",
    "check_plan",
    "check_run",
    "check_sale",
    "check_sales",
    "outcomes",
    "table",
]

Facts = TypeVar("Facts")

Report = Callable[[WorkerError], None]
"""Takes what a check raised."""


def _raise(error: WorkerError) -> None:
    raise error


@dataclass(frozen=True)
class Check(Generic[Facts]):
    """One check."""

    name: str
    must_hold: str
    """One sentence for the documentation: what must hold."""
    run: Callable[[Facts], object]
    """Raises `WorkerError` if it does not hold."""


WITHOUT_TEACHER: Final[tuple[Check[Run], ...]] = (
    Check(
        "device", "This machine has the device in `training.device`", lambda run: device_of(run.config.training.device)
    ),
    Check(
        "precision",
        "The device can train in `training.precision`, which is float16 on a GPU alone; with `training.compile`, this "
        "machine has a C++ compiler",
        lambda run: check_possible(run.config.training, kind_of_device(run.config.training.device)),
    ),
    Check(
        "directory",
        "`output.directory` can be written and holds no run of another configuration, where `fetch` may buy another "
        "`budget.n`; before a training, no process trains in it",
        lambda run: _check_directory(run),
    ),
    Check(
        "trackers",
        "Before a training: every name in `output.trackers` is that of one installed tracker, which can be used",
        lambda run: [tracker_named(name) for name in run.config.output.trackers if run.trains],
    ),
    Check(
        "samples",
        "The data set can be read and has `budget.n` distinct samples; the weights file in `budget.features` fits",
        lambda run: run.selected,
    ),
    Check(
        "self-training",
        "With `[self_training]`: some samples are neither bought nor for validation, one process trains, and the "
        "weights file in `self_training.assistant` fits",
        lambda run: check_self_training(run.config, run.samples, ranks=run.ranks, later=run.selected.later),
    ),
    Check(
        "methods",
        "Every method can learn something from the number of classes, and from the samples in a batch; also without a "
        "fold, if the fidelity is cross-fitted",
        lambda run: _check_methods(run),
    ),
    Check(
        "tuning",
        "With `[tuning]`: one process trains, and the samples outside each fold are enough for every method",
        lambda run: check_tuning(
            run.config,
            num_classes=len(run.samples.dataset.class_names),
            samples=len(run.samples.images),
            ranks=run.ranks,
        ),
    ),
)
WITH_DESCRIPTION: Final[tuple[Check[Sale], ...]] = (
    Check(
        "teacher",
        "In rounds: the teacher is the one that earlier rounds were bought from",
        lambda sale: check_teacher(sale.run.selected, sale.description.id),
    ),
    Check("image-shape", "The teacher takes images of the data's shape", check_image_shape),
    Check("datatype", "The teacher takes images as the pixels that are sent (UINT8)", check_datatype),
    Check("classes", "The teacher has as many classes as the data", check_classes),
    Check(
        "class-names",
        "The teacher's class names are those of the data in any order, or `[data.classes]` maps them; no label in "
        "`[teacher.labels]` is the name of another class; the names are those of earlier purchases",
        lambda sale: check_names(sale.run.config, sale.run.samples.dataset, sale.description, sale.cache),
    ),
    Check("outputs", "The teacher sells this API key the outputs that the methods need", lambda sale: sale.kinds),
    Check(
        "picture-rules",
        "No output was bought of an image of the data as earlier rules read it, or `data.rules` says which count",
        check_picture_rules,
    ),
    Check(
        "agreement",
        "If a part is bought already, the teacher agrees with the labels of the data more often than by chance",
        check_agreement,
    ),
)
WITH_OUTPUTS: Final[tuple[Check[Lesson], ...]] = (
    Check(
        "dry-pass",
        "The student can be built, and the weights in `student.weights` fit it; it takes a training step on made-up "
        "outputs, classifies images, can be saved, and gives the same logits when it is loaded",
        lambda lesson: lesson.weights_bytes,
    ),
    Check(
        "run",
        "Before a training: the run directory holds no run on other data, code or outputs",
        lambda lesson: _check_identity(lesson),
    ),
    Check(
        "disk-space",
        "The disk has space for the student and its checkpoints; with `[self_training]`, for the members, too",
        check_run_directory,
    ),
)
WITH_CACHE: Final[tuple[Check[Sale], ...]] = (
    Check("cache", "The cache can be written", lambda sale: sale.cache.check_purchase()),
    Check("cache-space", "The disk has space for the outputs that the cache lacks", check_cache),
)
WITH_PLAN: Final[tuple[Check[Plan], ...]] = (
    Check(
        "kept-answers",
        "Some answer can be read, if answers for these samples were paid, and no request that may have been charged "
        "was left without any answer, unless it can be repeated for free",
        Plan.check_answers,
    ),
    Check("quota", "The quota suffices", Plan.check_quota),
    Check(
        "rounds",
        "In rounds: the quota suffices for the later rounds, as far as `--max-calls` lets them buy",
        Plan.check_rounds,
    ),
    Check("limit", "`--max-calls` suffices for an open purchase, which is repeated first", Plan.check_limit),
)

STAGES: Final[Mapping[str, tuple[Check[Any], ...]]] = {
    "the configuration and the data": WITHOUT_TEACHER,
    "the teacher's description": WITH_DESCRIPTION,
    "the shapes of its outputs": WITH_OUTPUTS,
    "the cache, if it lacks outputs": WITH_CACHE,
    "the plan": WITH_PLAN,
}
"""The checks by what they need, in the order in which they run."""
CHECKS: Final[tuple[Check[Any], ...]] = tuple(check for checks in STAGES.values() for check in checks)


def check_run(run: Run, report: Report = _raise) -> None:
    """Check everything that needs no teacher. Raises `WorkerError`, unless `report` takes it."""
    _run(WITHOUT_TEACHER, run, _named(run, report))


def check_sale(run: Run, description: Description, cache: Cache, report: Report = _raise) -> None:
    """Check a run against its teacher's description, that its student can learn from the outputs, and the cache.

    Raises:
        WorkerError: a check failed, and `report` did not take it.
    """
    check_sales([run], description, cache, report)


def check_sales(runs: Iterable[Run], description: Description, cache: Cache, report: Report = _raise) -> None:
    """Check several runs as `check_sale` does, with one dry pass for all that are alike. Raises `WorkerError`."""
    check_lessons(_lessons_sold(runs, description, cache, report), report)


def check_lessons(lessons: Iterable[Lesson], report: Report = _raise) -> None:
    """Check several lessons as `check_lesson` does, with one dry pass for all that are alike. Raises `WorkerError`."""
    unlike: dict[str, Lesson] = {}
    for unchecked in lessons:
        lesson = replace(unchecked, like=unlike.get(unchecked.likeness))
        check_lesson(lesson, report)
        unlike.setdefault(lesson.likeness, lesson)


def check_lesson(lesson: Lesson, report: Report = _raise) -> None:
    """Check that the student can learn from these outputs. Raises `WorkerError`, unless `report` takes it."""
    _run(WITH_OUTPUTS, lesson, _named(lesson.run, report))


def check_plan(plan: Plan, report: Report = _raise) -> None:
    """Check the plan of a purchase. Raises `WorkerError`, unless `report` takes it."""
    _run(WITH_PLAN, plan, report)


def table() -> str:
    """The registry as a Markdown table."""
    rows = [f"| {check.name} | {check.must_hold} | {needs} |" for needs, checks in STAGES.items() for check in checks]
    return "\n".join(["| check | what must hold | needs |", "|---|---|---|", *rows]) + "\n"


def _lessons_sold(runs: Iterable[Run], description: Description, cache: Cache, report: Report) -> Iterator[Lesson]:
    """The lesson of each run that the teacher sells; each run's cache is checked after its lesson."""
    for run in runs:
        sale = Sale(run, description, cache)
        if run.config.needs_teacher and not _run(WITH_DESCRIPTION, sale, report):
            continue  # what follows would fail for the same reason
        yield sale.lesson
        if sale.values_to_buy:
            _run(WITH_CACHE, sale, report)


def _named(run: Run, report: Report) -> Report:
    """Reports errors that begin with the title of the run, if it has one."""
    title = run.title
    return report if title is None else lambda error: report(error.of(title))


def outcomes(checks: Sequence[Check[Facts]], facts: Facts) -> Iterator[tuple[Check[Facts], WorkerError | None]]:
    """Run checks: each with what it raised, or None if it holds."""
    for check in checks:
        try:
            check.run(facts)
        except WorkerError as error:
            yield check, error
        else:
            yield check, None


def _run(checks: Sequence[Check[Facts]], facts: Facts, report: Report) -> bool:
    """Run checks; whether all hold."""
    hold = True
    for _, error in outcomes(checks, facts):
        if error is not None:
            hold = False
            report(error)
    return hold


def _check_methods(run: Run) -> None:
    """Raise `ConfigError` if the term of a method would have no gradient."""
    classes = len(run.samples.dataset.class_names)
    check_methods(run.config, num_classes=classes, samples=len(run.samples.images))
    check_cross_fitting(run.config, num_classes=classes)


def _check_directory(run: Run) -> None:
    """Raise `RunError` if the directory cannot be written, holds a run of another configuration, or is in use.

    A command that only buys may buy more samples than a run in the directory has, and while that run trains.
    """
    directory, identity = RunDirectory(run.config.output.directory), run.config.identity
    directory.check(identity if run.trains else identity.without("budget", "n"), fresh=run.fresh)
    if run.trains and (run.fresh or directory.result_of(identity, partial=True) is None):
        directory.check_idle()


def _check_identity(lesson: Lesson) -> None:
    """Raise `RunError` if the directory of the training that this command goes on to holds another run."""
    run, training = lesson.run, lesson.run.training
    if not run.trains:
        return
    identity = identity_of(training, run.samples, teacher_facts(lesson.teacher_id, lesson.teacher), ranks=run.ranks)
    RunDirectory(training.output.directory).check(identity, fresh=run.fresh)
