"""The facts that checks need, one class for each stage of a purchase: each holds the one before it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from distill_worker.buying.output_choice import choose_outputs
from distill_worker.buying.planning import check_outputs
from distill_worker.cache import Cache
from distill_worker.config.run_config import RunConfig
from distill_worker.runs.classes import class_order
from distill_worker.runs.preflight.dry_pass import dry_pass
from distill_worker.runs.rounds import SelectedSamples, config_of_round
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.sampling.targets import cached_kinds, load_targets
from distill_worker.runs.self_training.made_up import made_up
from distill_worker.teachers.base import Description
from distill_worker.training.teacher_logits import TeacherLogits, to_teacher_logits
from shared.output_kinds import OutputKind


@dataclass(frozen=True)
class Run:
    """A run, or the next round of it, before its teacher is contacted."""

    config: RunConfig
    select: Callable[[], SelectedSamples]
    """Loads the data and selects the samples; called once."""
    trains: bool = False
    """Whether this command trains the student, too."""
    fresh: bool = False
    """Whether an earlier run in the same directory makes way."""
    ranks: int = 1
    """How many processes train the student together."""
    title: str | None = None
    """Names the run in errors, where it is one of many."""

    @cached_property
    def selected(self) -> SelectedSamples:
        """The samples selected so far."""
        return self.select()

    @property
    def samples(self) -> Samples:
        """The samples to buy and to train on."""
        return self.selected.samples

    @property
    def training(self) -> RunConfig:
        """The next training: of the run, or of a round before the last, in a directory of its own."""
        return config_of_round(self.config, self.selected)


@dataclass(frozen=True)
class Sale:
    """A run and its teacher, as it describes itself now or described itself when the cache was filled."""

    run: Run
    description: Description
    cache: Cache

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kinds to buy. A kind that the cache holds of all samples counts as sold.

        Raises:
            PlanRefused: the teacher does not sell what the methods need.
        """
        cached = cached_kinds(self.cache, self.description.id, self.run.samples.bought_keys)
        kinds = choose_outputs(self.run.config, [*self.description.outputs, *cached])
        check_outputs(self.description, set(kinds) - set(cached))
        return kinds

    @cached_property
    def lesson(self) -> "Lesson":
        """The run with the outputs that this teacher sells, or sold."""
        shapes = {kind: self._shape(kind) for kind in self.kinds}
        if not shapes:
            return Lesson(self.run, {}, None)
        order = class_order(self.run.config, self.run.samples.dataset, self.description.class_names)
        return Lesson(self.run, shapes, self.description.id, order)

    @cached_property
    def missing(self) -> Mapping[str, int]:
        """How many samples' outputs the cache lacks, by kind."""
        streams, keys = self.cache.kinds_of(self.description.id), self.run.samples.bought_keys
        return {
            kind: len(self.cache.missing(streams[kind], keys)) if kind in streams else len(set(keys))
            for kind in self.kinds
        }

    @property
    def samples_to_buy(self) -> int:
        """Samples of which the cache lacks outputs."""
        return max(self.missing.values(), default=0)

    @property
    def values_to_buy(self) -> int:
        """The numbers in all outputs that the cache lacks."""
        return sum(self.missing[kind] * prod(shape) for kind, shape in self.lesson.outputs.items())

    def _shape(self, kind: str) -> Sequence[int]:
        if (sold := self.description.outputs.get(kind)) is not None:
            return sold
        return load_targets(self.cache, self.description.id, self.run.samples.keys[:1], [kind])[kind].shape[1:]


@dataclass(frozen=True)
class Lesson:
    """A run and the outputs that its student learns from. They need not be bought yet."""

    run: Run
    outputs: Mapping[str, Sequence[int]]
    """The shape of one sample's output, by kind; empty if no method needs a teacher."""
    teacher_id: str | None
    class_order: tuple[int, ...] | None = None
    """For each class of the data, its place among the teacher's; None if both have the same order."""
    like: "Lesson | None" = None
    """A lesson that differs only in seeds, places of files, samples beyond a batch and `[tuning]`: its dry pass counts
    for both."""

    @property
    def likeness(self) -> str:
        """The settings on which a dry pass depends, and the shapes."""
        settings = self.run.config.model_dump(
            mode="json",
            exclude={
                "teacher": True,
                "output": True,
                "budget": {"n", "seed"},
                "training": {"seed"},
                "corruption": True,
                "tuning": True,
            },
        )
        batch = min(self.run.config.training.batch_size, len(self.run.samples.images))
        return repr((settings, batch, {kind: tuple(shape) for kind, shape in self.outputs.items()}))

    @cached_property
    def teacher(self) -> TeacherLogits:
        """Made-up outputs of these kinds, for all samples of the run."""
        samples, config = self.run.samples, self.run.config
        bought = {
            kind: made_up(OutputKind.parse(kind), shape, len(samples.images)) for kind, shape in self.outputs.items()
        }
        classes = len(samples.dataset.class_names)
        return to_teacher_logits(
            bought, classes, label_smoothing=config.teacher.label_smoothing, class_order=self.class_order
        )

    @cached_property
    def weights_bytes(self) -> int:
        """The size of the student's weights file, or of a larger one of an ensemble that helps to train it.

        Raises:
            ConfigError: a network cannot be trained.
        """
        if self.like is not None:
            return self.like.weights_bytes
        return dry_pass(self.run.config, self.run.samples, self.teacher)
