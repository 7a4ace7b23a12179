"""The configuration of one run: one TOML file, stored with the run.

An unknown key is an error that names it. No secret is a setting: the API key comes from the environment
(TEACHER_API_KEY, or the file that TEACHER_API_KEY_FILE names).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import PrivateAttr, field_validator, model_validator

from distill_worker.cache.database.engine import place_of
from distill_worker.config.data_sections import FIDELITY_FOLDS, Augmentation, Budget, Corruption, Data
from distill_worker.config.run_identity import RunIdentity
from distill_worker.config.section import Section
from distill_worker.config.stages.self_training import SelfTraining
from distill_worker.config.stages.tuning import Tuning
from distill_worker.config.teacher_address import OpenInferenceAddress, TeacherAddress, VendorAddress
from distill_worker.config.training_section import Student, Training
from distill_worker.data.datasets import has_files
from distill_worker.data.selection import STRATEGIES
from distill_worker.errors import CacheError
from distill_worker.methods import AnyMethod, Method, Mixing, method_name, why_not_together, why_not_with
from shared.output_kinds import AUTO


def cache_place(cache: object) -> object:
    """The file or the URL of a cache. Raises `ValueError`."""
    if not isinstance(cache, str | Path):
        raise ValueError("expected a file or postgresql://...")  # noqa: TRY004 - pydantic takes no other
    try:
        return place_of(cache) if isinstance(cache, str) else cache
    except CacheError as error:
        raise ValueError(str(error).removeprefix("cache: ")) from error


class Output(Section):
    """Where files are written."""

    directory: Path = Path("runs/default")
    """The run directory."""
    report: bool = True
    """Whether a run ends by writing its page, report.html, into its directory."""
    tensorboard: bool = True
    """Whether a run's metrics are also written for TensorBoard, into the folder tensorboard of its directory."""
    trackers: tuple[str, ...] = ()
    """Where else its metrics are shown: `mlflow`, `wandb`, or the tracker of another package, by name."""
    cache: Path | str = Path("runs/cache.sqlite")
    """The store of bought outputs, which several runs may share: a SQLite file, or the URL of a PostgreSQL database
    (`postgresql://user:password@host/name`), which several machines may share. In a user name or password, write % as
    %25, @ as %40, : as %3A, / as %2F, # as %23 and ? as %3F."""

    _other_caches: tuple[Path, ...] = PrivateAttr(())

    _cache_is_a_place = field_validator("cache", mode="before")(cache_place)

    @property
    def other_caches(self) -> tuple[Path, ...]:
        """Caches at places that earlier versions used: what they hold need not be bought again."""
        return self._other_caches

    def with_other_caches(self, caches: Sequence[Path]) -> Self:
        """This section with other caches."""
        section = self.model_copy()
        section._other_caches = tuple(caches)
        return section


Track = Literal["queried", "labelled-pool", "unlabelled-pool"]
"""The data that the student trains on besides the n queried samples with their labels: none; all training images with
their labels; or all training images without labels."""

_NOT_IN_IDENTITY: Final[Any] = {
    "teacher": True,
    "output": True,
    "data": {"root", "path", "store", "unreadable", "rules", "classes", "class_names"},
    "student": {"network_file", "weights"},
    "self_training": {"network_file", "assistant"},
    "budget": {"features"},
    "training": {"checkpoint_every", "batch_norm", "budget"},
    "chosen_by_auto": True,
}
"""Settings that change a result only through the samples and the teacher's outputs, which are identified themselves.
`batch_norm` counts on several ranks alone: see `runs/run_facts.py`."""


class RunConfig(Section):
    """The configuration of one run."""

    track: Track = "queried"
    """What the student trains on besides the n bought samples with their labels: nothing; all training images with
    their labels; or all training images without labels."""
    data: Data
    student: Student
    method: AnyMethod
    plus: tuple[AnyMethod, ...] = ()
    """Methods whose terms are added to the first method's: [[plus]] sections."""
    teacher: TeacherAddress = OpenInferenceAddress()
    budget: Budget = Budget()
    corruption: Corruption = Corruption()
    augmentation: Augmentation = Augmentation()
    training: Training = Training()
    tuning: Tuning | None = None
    """Without the section, the settings stay as they are configured."""
    self_training: SelfTraining | None = None
    output: Output = Output()
    chosen_by_auto: tuple[str, ...] = ()
    """The settings that the method `auto` chose. The worker writes it."""

    @property
    def identity(self) -> RunIdentity:
        """The settings that a result depends on: not where the teacher is, nor where files are."""
        return RunIdentity(
            values=self.model_dump(mode="json", exclude=_NOT_IN_IDENTITY),
            changed=self.model_dump(mode="json", exclude=_NOT_IN_IDENTITY, exclude_defaults=True),
        )

    @property
    def resolved_teacher(self) -> TeacherAddress:
        """The teacher's address; `teacher.send` is `file` in place of `auto` if the data set has files to send."""
        address = self.teacher
        if isinstance(address, VendorAddress) and address.send == "auto" and has_files(self.data.name):
            return address.model_copy(update={"send": "file"})
        return address

    @property
    def data_used(self) -> str:
        """The track, whether its samples have no labels, and whether weights that were trained on other data help."""
        labels = "" if self.data.has_labels else ", unlabelled"
        outside = ", outside weights" if self.assistant is not None or self.student.has_outside_weights else ""
        return f"{self.track}{labels}{outside}"

    @property
    def fidelity_folds(self) -> int:
        """How many students are trained to cross-fit the fidelity; 0 if it is measured otherwise, or not at all.

        A bought mixture would be in one fold, and its samples in others.
        """
        is_cross_fitted = not self.data.has_labels and self.budget.is_cross_fitted and not self.buys_mixtures
        return FIDELITY_FOLDS if is_cross_fitted else 0

    @property
    def buys_mixtures(self) -> bool:
        """Whether outputs of mixtures are bought beside those of samples."""
        return any(isinstance(method, Mixing) and method.mixtures for method in self.methods)

    @property
    def assistant(self) -> Path | None:
        """The weights file of a network that was trained on other data and helps to label the pool."""
        return None if self.self_training is None else self.self_training.assistant

    @property
    def methods(self) -> tuple[Method, ...]:
        """The method and the added ones."""
        return (self.method, *self.plus)

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks to build: the student's, and that of the members of an ensemble if it is another one."""
        members = [] if self.self_training is None else [self.self_training.student(self.student)]
        return tuple(dict.fromkeys(section.network_to_build for section in (self.student, *members)))

    @property
    def teacher_kinds(self) -> tuple[str, ...]:
        """The kinds of teacher output that the methods need, sorted; empty when no method needs a teacher.

        `logits` stands for the distribution that is bought: see `output_choice.choose_outputs`.
        """
        return tuple(sorted({kind for method in self.methods for kind in method.teacher_kinds}))

    @property
    def needs_teacher(self) -> bool:
        """Whether outputs must be bought."""
        return bool(self.teacher_kinds)

    def uses(self, setting: str) -> bool:
        """Whether the run uses the place that a setting names, such as `output.cache`."""
        return {"output.cache": self.needs_teacher, "data.root": self.data.reads_root}.get(setting, True)

    @model_validator(mode="after")
    def _sections_agree(self) -> "RunConfig":
        for added in self.plus:
            if added.label_weight != type(added).model_fields["label_weight"].default:
                raise ValueError("plus: label_weight is set by the first method; leave it out of [[plus]]")
        if (reason := why_not_together(self.methods)) is not None:
            raise ValueError(f"plus: {reason}")
        if getattr(self.teacher, "send", AUTO) == "file" and not has_files(self.data.name):
            raise ValueError(
                f"teacher.send: expected 'auto' or 'pixels', because {self.data.name} has no files, got 'file'"
            )
        if self.teacher.output != AUTO and (reason := why_not_with(self.methods, self.teacher.output)) is not None:
            raise ValueError(f"teacher.output: {reason}")
        if self.tuning is not None and (reason := self.tuning.why_not(self.methods, self.training, self.track)):
            raise ValueError(reason)
        stage = self.self_training
        if stage is not None and (reason := stage.why_not(self.methods, self.training, self.track, self.budget.rounds)):
            raise ValueError(f"self_training: {reason}")
        labels_pool = stage is not None and self.track != "queried"
        if (labels_pool or any(method.needs_pool for method in self.methods)) != (self.track == "unlabelled-pool"):
            raise ValueError(
                "track: expected 'unlabelled-pool' if, and only if, the run learns from such a pool ([self_training], "
                f"or the method pseudo-label), got {self.track!r} with "
                f"{', '.join(method_name(method) for method in self.methods)}"
            )
        if not self.data.has_labels and (reason := self._why_not_without_labels()) is not None:
            raise ValueError(f"{reason}, because the data have no labels (data.labels = 'none')")
        widest = max((getattr(method, "k", 2) for method in self.methods), default=2)
        smallest = min([self.training.batch_size, *self.budget.sizes[:1]])
        if widest > smallest:
            raise ValueError(f"method.k: expected at most the batch ({smallest} samples), got {widest}")
        chosen_by = (self.budget.first, self.budget.strategy)
        if self.track == "unlabelled-pool" and any("labels" in STRATEGIES[name].needs for name in chosen_by):
            raise ValueError(
                "budget.strategy: expected a strategy without labels, because the track unlabelled-pool has none, got "
                "class-balanced"
            )
        if self.budget.rounds > 1 and self.buys_mixtures:
            raise ValueError(
                "budget.rounds: expected 1 with bought mixtures, which every round would buy again, got "
                f"{self.budget.rounds}"
            )
        return self

    def _why_not_without_labels(self) -> str | None:
        """What the run has that needs labels, or None."""
        if not any(method.teaches_classes for method in self.methods):
            names = ", ".join(method_name(method) for method in self.methods)
            return (
                f"method: expected one that shows which class is which, such as kd, got {names} alone; add [[plus]] kd"
            )
        if self.method.label_weight:
            return f"method.label_weight: expected 0, got {self.method.label_weight}"
        if self.track == "labelled-pool":
            return "track: expected 'queried' or 'unlabelled-pool', got 'labelled-pool'"
        if any("labels" in STRATEGIES[name].needs for name in (self.budget.first, self.budget.strategy)):
            return f"budget.strategy: expected a strategy without labels, got {self.budget.strategy!r}"
        if self.training.validated_share:
            return f"training.validation_share: expected 0, got {self.training.validated_share}"
        if self.corruption.label_noise is not None or self.corruption.imbalance is not None:
            return "corruption: expected no value"
        return None
