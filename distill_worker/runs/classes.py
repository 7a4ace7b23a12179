"""The classes of a run's data among those of its teacher: compared by name, and once outputs are bought, by labels.

A teacher's outputs stay in the cache in its own order of classes. `class_order` maps them where they become targets.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from torch import Tensor

from distill_worker.buying.fetch import NO_CALLBACKS, OnAnswer
from distill_worker.cache import Cache
from distill_worker.config.run_config import RunConfig
from distill_worker.config.teacher_address import VendorAddress
from distill_worker.data import class_names
from distill_worker.data.agreement import Agreement, Counts
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.errors import ConfigError, PlanRefused
from distill_worker.runs.sampling.samples import Samples
from distill_worker.teachers.base import Description
from shared.output_kinds import FEATURES

_REMEDY: Final = (
    'for classes that have two names, list "name in the data set" = "name at the teacher" in [data.classes]; otherwise '
    "take other data or another teacher. Nothing was spent"
)


def class_order(config: RunConfig, dataset: Dataset, stated: Sequence[str] | None) -> tuple[int, ...] | None:
    """For each class of the data set, its place among the teacher's; None if both have the same order.

    Args:
        config: the run.
        dataset: its data set.
        stated: the class names that the teacher stated; `teacher.class_names` replaces them.

    Raises:
        ConfigError: the names differ, or the configuration contradicts them.
    """
    address = config.teacher
    if isinstance(address, VendorAddress):
        _check_labels(config, address, dataset)
        return None
    return class_names.class_order(
        dataset.class_names,
        address.class_names or stated,
        network="the teacher",
        remedy=_REMEDY,
        is_named=dataset.classes_are_named,
        renamed=config.data.classes,
    )


def notes(config: RunConfig, dataset: Dataset, stated: Sequence[str] | None) -> list[str]:
    """Lines for the user: how the data were read, and whether classes are mapped; arguments as of `class_order`."""
    lines = list(dataset.notes)
    if not config.data.has_labels:
        lines.append(
            f"data: {len(dataset.train.images):,} images without labels; the student learns from the teacher alone, "
            f"and its classes are {class_names.listed(dataset.class_names)}"
        )
    if config.needs_teacher and class_order(config, dataset, stated) is not None:
        lines.append("data: the teacher lists the same classes in another order; its outputs are mapped by name")
    return lines


def check_names(config: RunConfig, dataset: Dataset, description: Description, cache: Cache) -> None:
    """Check a teacher's class names against the data, and against those that its cached outputs were bought under.

    Raises:
        ConfigError: see `class_order`.
        PlanRefused: the teacher states other names now than before.
    """
    class_order(config, dataset, description.class_names)
    before, now = cache.class_names(description.id), description.class_names
    is_configured = not isinstance(config.teacher, VendorAddress) and bool(config.teacher.class_names)
    if None not in (before, now) and before != now and not is_configured:
        raise PlanRefused(
            f"teacher: expected the class names {class_names.listed(before or ())}, as they were when its outputs in "
            f"the cache were bought, got {class_names.listed(now or ())} from the same version {description.id}. "
            "Nothing was spent. List in teacher.class_names those that hold for all its outputs, or use another "
            "output.cache"
        )


def judge(
    config: RunConfig, samples: Sequence[Samples], description: Description, cache: Cache, kinds: Sequence[str]
) -> OnAnswer:
    """Judges each answer of a purchase: raises `PlanRefused` once the teacher does not agree with the labels.

    It counts the answers, and the outputs of these kinds that are in the cache. Arguments: `agreement_so_far`.
    """
    agreement = agreement_so_far(config, samples, description, cache, kinds)
    return NO_CALLBACKS.on_answer if agreement is None else agreement.judge


def agreement_so_far(
    config: RunConfig, samples: Sequence[Samples], description: Description, cache: Cache, kinds: Sequence[str]
) -> Agreement | None:
    """How often the teacher agrees with the labels, counted on the outputs that are in the cache.

    The labels are those of the data set, without the run's label noise; bought mixtures have none.

    Args:
        config: a run.
        samples: of this run, and of others with the same data set and teacher.
        description: of the teacher.
        cache: holds its outputs.
        kinds: of output that are bought.

    Returns:
        None if the teacher need not agree, or the samples count as unlabelled.
    """
    if not _is_expected(config):
        return None
    dataset, labels = samples[0].dataset, _labels(samples)
    order = class_order(config, dataset, description.class_names)
    agreement = Agreement(labels, len(dataset.class_names), order)
    streams = cache.kinds_of(description.id)
    for kind in set(kinds) & streams.keys():
        if not kind.startswith(FEATURES):
            holdings = cache.holdings(streams[kind])
            if held := [key for key in labels if key in holdings]:
                agreement.add(held, {kind: cache.aligned(streams[kind], held)})
    return agreement


def doubts(
    config: RunConfig, samples: Samples, targets: Mapping[str, Tensor], order: tuple[int, ...] | None
) -> list[str]:
    """A warning for the user if bought outputs do not agree with the labels of the data; otherwise nothing.

    Args:
        config: a run.
        samples: of the run.
        targets: the bought outputs by kind, one row for each of `samples.keys`.
        order: see `class_order`.
    """
    agreement = _agreement(config, samples, targets, order)
    try:
        if agreement is not None:
            agreement.check()
    except PlanRefused as error:
        return [f"warning: {error}"]
    return []


def counts_of(
    config: RunConfig, samples: Samples, targets: Mapping[str, Tensor], order: tuple[int, ...] | None
) -> Counts | None:
    """How often bought outputs agree with the labels of the data; None if they need not. Arguments as of `doubts`."""
    agreement = _agreement(config, samples, targets, order)
    return None if agreement is None else agreement.counts


def _agreement(
    config: RunConfig, samples: Samples, targets: Mapping[str, Tensor], order: tuple[int, ...] | None
) -> Agreement | None:
    if not targets or not _is_expected(config):
        return None
    agreement = Agreement(_labels([samples]), len(samples.dataset.class_names), order)
    agreement.add(samples.keys, {kind: outputs.numpy() for kind, outputs in targets.items()})
    return agreement


def _is_expected(config: RunConfig) -> bool:
    """Whether a teacher is expected to agree with the labels."""
    return config.teacher.expect_agreement and config.data.has_labels and config.track != "unlabelled-pool"


def _labels(samples: Sequence[Samples]) -> dict[bytes, int]:
    """The labels of the data set by sample key."""
    labels: dict[bytes, int] = {}
    for of_run in samples:
        labels |= zip(of_run.keys, of_run.dataset.train.needed_labels[of_run.chosen].tolist(), strict=False)
    return labels


def _check_labels(config: RunConfig, address: VendorAddress, dataset: Dataset) -> None:
    if config.data.classes:
        raise ConfigError(
            "data.classes: expected no value for a vendor, whose classes are in [teacher.labels], "
            f"got {class_names.listed(list(config.data.classes))}"
        )
    if not dataset.classes_are_named:
        return
    place_of = {name: place for place, name in enumerate(dataset.class_names)}
    for label, place in address.labels.items():
        if place != (expected := place_of.get(label, place)):
            other = dataset.class_names[place] if place < len(dataset.class_names) else "no class of the data set"
            raise ConfigError(
                f"teacher.labels: expected {label!r} = {expected}, as the data set's class {expected} has this name, "
                f"got {label!r} = {place}, which is {other!r}"
            )
